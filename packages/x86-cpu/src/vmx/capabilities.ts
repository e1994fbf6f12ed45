import {
  CPU_BASED,
  CR0,
  CR4,
  MEMORY_TYPE,
  MSR,
  SECONDARY_EXEC,
  VMX_BASIC,
  VMX_EPT_VPID_CAP,
  VMX_MISC,
  VMX_VMCS_ENUM,
  capabilityBits,
  type CapabilityField,
} from "@tapvisor/x86-isa";
import type { VmxFeature, VmxProfile } from "../profiles/profile.js";
import {
  DEFAULT1_CONTROLS,
  FEATURE_CONTROLS,
  IMPLEMENTED_CONTROLS,
  MAY_BE_ZERO_CONTROLS,
  type ControlGroup,
} from "./controls.js";
import { VmcsLayout } from "./vmcs-layout.js";

/** Which settings of a field of controls a VM entry accepts. */
export interface ControlRange {
  /** Bits that must be 1. */
  readonly mustBeOne: number;
  /** Bits that may be 1. */
  readonly mayBeOne: number;
}

/** Highest count of CR3-target values. */
const CR3_TARGETS = 4;

const msrOf = ({ mustBeOne, mayBeOne }: ControlRange): bigint => (BigInt(mayBeOne) << 32n) | BigInt(mustBeOne);

/** What the VMX capability MSRs of one profile say, and what the VM-entry checks are held to. */
export class VmxCapabilities {
  readonly revisionId: number;
  /** The settings that a VM entry accepts. */
  readonly controls: Readonly<Record<ControlGroup, ControlRange>>;
  readonly layout: VmcsLayout;
  /** Value of every capability MSR that exists. */
  readonly msrs: ReadonlyMap<number, bigint>;
  readonly #eptVpidCap: bigint;
  /** The preemption timer counts down by one every 2^rate cycles of the TSC. */
  readonly preemptionTimerRate: number;
  readonly cr3Targets = CR3_TARGETS;
  readonly cr0Fixed0 = CR0.PE | CR0.NE | CR0.PG;
  readonly cr0Fixed1 = 0xffffffffn;
  readonly cr4Fixed0 = CR4.VMXE;
  readonly #without: ReadonlySet<VmxFeature>;

  /**
   * @param profile what the processor has of VMX
   * @param cr4Fixed1 the bits of CR4 that the processor has
   */
  constructor(
    profile: VmxProfile,
    readonly cr4Fixed1: bigint,
  ) {
    this.revisionId = profile.revisionId;
    this.preemptionTimerRate = profile.preemptionTimerRate;
    this.#without = new Set(profile.without);
    const offered = { ...IMPLEMENTED_CONTROLS };
    for (const feature of this.#without) {
      for (const [group, bits] of Object.entries(FEATURE_CONTROLS[feature]) as [ControlGroup, number][]) {
        offered[group] &= ~bits;
      }
    }
    // Without the control that activates them there are no secondary controls.
    const secondary = (offered.primary & CPU_BASED.ACTIVATE_SECONDARY_CONTROLS) !== 0;
    if (!secondary) offered.secondary = 0;

    const trueControls = this.has("trueControls");
    const range = (group: ControlGroup, byTrueMsr: boolean): ControlRange => ({
      mustBeOne: (byTrueMsr ? DEFAULT1_CONTROLS[group] & ~MAY_BE_ZERO_CONTROLS[group] : DEFAULT1_CONTROLS[group]) >>> 0,
      mayBeOne: (offered[group] | DEFAULT1_CONTROLS[group]) >>> 0,
    });
    this.controls = {
      pin: range("pin", trueControls),
      primary: range("primary", trueControls),
      secondary: range("secondary", trueControls),
      exit: range("exit", trueControls),
      entry: range("entry", trueControls),
    };
    this.layout = new VmcsLayout((group, bits) => (offered[group] & bits) !== 0);
    this.#eptVpidCap = this.#eptVpid();

    const msrs = new Map<number, bigint>([
      [MSR.IA32_VMX_BASIC, this.#basic()],
      [MSR.IA32_VMX_PINBASED_CTLS, msrOf(range("pin", false))],
      [MSR.IA32_VMX_PROCBASED_CTLS, msrOf(range("primary", false))],
      [MSR.IA32_VMX_EXIT_CTLS, msrOf(range("exit", false))],
      [MSR.IA32_VMX_ENTRY_CTLS, msrOf(range("entry", false))],
      [MSR.IA32_VMX_MISC, this.#misc()],
      [MSR.IA32_VMX_CR0_FIXED0, this.cr0Fixed0],
      [MSR.IA32_VMX_CR0_FIXED1, this.cr0Fixed1],
      [MSR.IA32_VMX_CR4_FIXED0, this.cr4Fixed0],
      [MSR.IA32_VMX_CR4_FIXED1, cr4Fixed1],
      [MSR.IA32_VMX_VMCS_ENUM, capabilityBits(VMX_VMCS_ENUM.HIGHEST_INDEX, this.layout.highestIndex)],
    ]);
    if (secondary) msrs.set(MSR.IA32_VMX_PROCBASED_CTLS2, msrOf(range("secondary", false)));
    if (this.offers("secondary", SECONDARY_EXEC.ENABLE_EPT) || this.offers("secondary", SECONDARY_EXEC.ENABLE_VPID)) {
      msrs.set(MSR.IA32_VMX_EPT_VPID_CAP, this.#eptVpidCap);
    }
    if (trueControls) {
      msrs.set(MSR.IA32_VMX_TRUE_PINBASED_CTLS, msrOf(range("pin", true)));
      msrs.set(MSR.IA32_VMX_TRUE_PROCBASED_CTLS, msrOf(range("primary", true)));
      msrs.set(MSR.IA32_VMX_TRUE_EXIT_CTLS, msrOf(range("exit", true)));
      msrs.set(MSR.IA32_VMX_TRUE_ENTRY_CTLS, msrOf(range("entry", true)));
    }
    this.msrs = msrs;
  }

  /** Whether the profile has the feature; a control of it is asked for by {@link offers}. */
  has(feature: VmxFeature): boolean {
    return !this.#without.has(feature);
  }

  /** Whether a VM entry accepts the 1-setting of all `bits`. */
  offers(group: ControlGroup, bits: number): boolean {
    return ((this.controls[group].mayBeOne & bits) ^ bits) === 0;
  }

  /** Whether IA32_VMX_EPT_VPID_CAP has the bit. */
  eptVpidHas(field: CapabilityField): boolean {
    return (this.#eptVpidCap & capabilityBits(field, 1)) !== 0n;
  }

  #basic(): bigint {
    return (
      capabilityBits(VMX_BASIC.REVISION_ID, this.revisionId) |
      capabilityBits(VMX_BASIC.REGION_SIZE, VmcsLayout.REGION_BYTES) |
      capabilityBits(VMX_BASIC.MEMORY_TYPE, MEMORY_TYPE.WB) |
      capabilityBits(VMX_BASIC.INS_OUTS, 1) |
      capabilityBits(VMX_BASIC.TRUE_CONTROLS, this.has("trueControls") ? 1 : 0)
    );
  }

  #misc(): bigint {
    return (
      capabilityBits(VMX_MISC.PREEMPTION_TIMER_RATE, this.preemptionTimerRate) |
      capabilityBits(VMX_MISC.SAVE_EFER_LMA, 1) |
      capabilityBits(VMX_MISC.ACTIVITY_HLT, 1) |
      capabilityBits(VMX_MISC.ACTIVITY_SHUTDOWN, 1) |
      capabilityBits(VMX_MISC.ACTIVITY_WAIT_SIPI, 1) |
      capabilityBits(VMX_MISC.CR3_TARGET_COUNT, CR3_TARGETS) |
      capabilityBits(VMX_MISC.ZERO_LENGTH_INJECTION, 1)
    );
  }

  #eptVpid(): bigint {
    const cap = VMX_EPT_VPID_CAP;
    const present: CapabilityField[] = [];
    if (this.offers("secondary", SECONDARY_EXEC.ENABLE_EPT)) {
      present.push(cap.EPT_PAGE_WALK_4, cap.EPTP_UC, cap.EPTP_WB);
      if (this.has("eptExecuteOnly")) present.push(cap.EPT_EXECUTE_ONLY);
      if (this.has("ept2MbPage")) present.push(cap.EPT_2MB_PAGE);
      if (this.has("ept1GbPage")) present.push(cap.EPT_1GB_PAGE);
      if (this.has("eptAccessedDirty")) present.push(cap.EPT_ACCESSED_DIRTY);
      if (this.has("invept")) present.push(cap.INVEPT, cap.INVEPT_SINGLE_CONTEXT, cap.INVEPT_ALL_CONTEXT);
    }
    if (this.offers("secondary", SECONDARY_EXEC.ENABLE_VPID) && this.has("invvpid")) {
      present.push(
        cap.INVVPID,
        cap.INVVPID_INDIVIDUAL_ADDR,
        cap.INVVPID_SINGLE_CONTEXT,
        cap.INVVPID_ALL_CONTEXT,
        cap.INVVPID_SINGLE_CONTEXT_RETAINING_GLOBALS,
      );
    }
    return present.reduce((value, field) => value | capabilityBits(field, 1), 0n);
  }
}
