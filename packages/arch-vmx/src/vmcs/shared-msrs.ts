import { MSR } from "@tapvisor/x86-isa";

/**
 * MSRs that a guest has of its own and no entry or exit switches. The core loads them before the first entry and gives
 * the host its own back when it returns to user space; their place here is the core's slot number.
 */
export const SHARED_MSRS = [
  MSR.IA32_FMASK, MSR.IA32_LSTAR, MSR.IA32_CSTAR, MSR.IA32_EFER, MSR.IA32_TSC_AUX, MSR.IA32_STAR,
] as const; // prettier-ignore

/** The guest's value of one of them. */
export interface SharedMsr {
  readonly msr: number;
  /** Number of the core's slot. */
  readonly slot: number;
  data: bigint;
  /** Bits in which the guest's value counts. */
  mask: bigint;
}
