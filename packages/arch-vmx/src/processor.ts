import type { LogicalProcessor } from "@tapvisor/kvm-core/contract";

/**
 * How a VMX instruction ended (SDM vol. 3, "Conventions" of the VMX instruction reference): 0 VMsucceed,
 * 1 VMfailInvalid, 2 VMfailValid (the VM-instruction error field of the current VMCS says why).
 */
export type VmxStatus = 0 | 1 | 2;
export const VM_SUCCEED = 0;
export const VM_FAIL_INVALID = 1;
export const VM_FAIL_VALID = 2;

/**
 * A logical processor with VT-x, in root operation: the instructions that `arch-vmx` drives.
 * An instruction that would raise #UD or #GP in root mode throws: that is a bug of the hypervisor, as an oops is.
 */
export interface VmxProcessor extends LogicalProcessor {
  vmxon(region: number): VmxStatus;
  vmxoff(): VmxStatus;
  vmclear(vmcs: number): VmxStatus;
  vmptrld(vmcs: number): VmxStatus;
  /** Physical address of the current VMCS, or -1. */
  vmptrst(): number;

  /** VMREAD, low 32 bits of the field; VMfail is reported by `vmxStatus`. No bigint is made. */
  vmread32(field: number): number;
  /** VMREAD of a field that is at most 52 bits, as a number; higher bits are lost. */
  vmreadNumber(field: number): number;
  vmread(field: number): bigint;
  vmwrite32(field: number, value: number): VmxStatus;
  vmwriteNumber(field: number, value: number): VmxStatus;
  vmwrite(field: number, value: bigint): VmxStatus;
  /** VMREAD of a whole field as two words, `into[at]` the low one; for paths that must not make a bigint. */
  vmreadWords(field: number, into: Uint32Array, at: number): VmxStatus;
  vmwriteWords(field: number, low: number, high: number): VmxStatus;
  /** Status of the newest VMREAD or VMWRITE. */
  readonly vmxStatus: VmxStatus;
  /** CR2 in place, low word first: a world switch neither saves nor loads it. */
  readonly cr2: Uint32Array;

  /**
   * Enter the guest and run until the next VM exit, which this returns from with 0; then the exit fields of the
   * current VMCS say why. A failed VM entry (exit reason bit 31) also returns 0. VMfail returns 1 or 2: no guest ran.
   */
  vmlaunch(): VmxStatus;
  vmresume(): VmxStatus;

  /**
   * Which check the newest VM entry failed by: section of the manual and rule. A processor of silicon does not tell.
   */
  readonly entryViolation?: string | undefined;

  /** INVEPT: 1 single context, 2 all contexts. */
  invept(type: number, eptp: number): VmxStatus;
  /** INVVPID: 0 one address, 1 one VPID, 2 all, 3 one VPID but for globals. */
  invvpid(type: number, vpid: number, linear: bigint): VmxStatus;
}
