import type { CpuidFeatureName } from "@tapvisor/x86-isa";

/** Parts of VMX that a profile may lack. What the processor does not implement at all is not among them. */
export type VmxFeature =
  | "ept"
  | "unrestrictedGuest"
  | "vpid"
  | "preemptionTimer"
  | "virtualNmis"
  | "msrBitmaps"
  | "secondaryControls"
  | "pauseLoopExiting"
  | "loadEfer"
  | "trueControls"
  | "eptAccessedDirty"
  | "eptExecuteOnly"
  | "ept2MbPage"
  | "ept1GbPage"
  | "invept"
  | "invvpid";

export interface VmxProfile {
  /** VMCS revision identifier, 31 bits. */
  readonly revisionId: number;
  /** The preemption timer counts down by one every 2^rate cycles of the TSC. */
  readonly preemptionTimerRate: number;
  readonly without: readonly VmxFeature[];
}

/** Constant registers of one CPUID leaf. A register that is left out is 0; feature bits are added to it. */
export interface CpuidRow {
  readonly leaf: number;
  readonly subleaf?: number;
  readonly eax?: number;
  readonly ebx?: number;
  readonly ecx?: number;
  readonly edx?: number;
}

/** What a processor is: everything in which two models differ. */
export interface ProcessorProfile {
  readonly name: string;
  readonly summary: string;
  readonly vendor: "intel" | "amd";
  readonly family: number;
  readonly model: number;
  readonly stepping: number;
  /** At most 48 characters. */
  readonly brand: string;
  readonly physicalAddressBits: number;
  readonly linearAddressBits: number;
  /** Features that CPUID shows, and so the processor has: an instruction of any other raises #UD. */
  readonly features: readonly CpuidFeatureName[];
  /** Leaves besides those that follow from the fields above. */
  readonly cpuid: readonly CpuidRow[];
  /** IA32_FEATURE_CONTROL as the firmware leaves it; undefined where the MSR does not exist. */
  readonly featureControl?: bigint;
  readonly vmx?: VmxProfile;
}
