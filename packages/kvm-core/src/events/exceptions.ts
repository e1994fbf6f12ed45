import { type GuestException, VECTOR, exceptionClass } from "@tapvisor/x86-isa";
import { REQUEST } from "../contract/index.js";
import { isProtectedMode } from "../registers/control.js";
import { makeRequest } from "../requests.js";
import type { VcpuState } from "../state/vcpu-state.js";

/**
 * kvm_multiple_exception: queue an exception behind or instead of the one that waits already (SDM vol. 3, "Interrupt 8 -
 * Double Fault Exception", table of conditions).
 */
function multipleException(
  vcpu: VcpuState,
  nr: number,
  hasErrorCode: boolean,
  errorCode: number,
  reinject: boolean,
): void {
  const { exception } = vcpu.arch;
  makeRequest(vcpu, REQUEST.EVENT);
  if (exception.pending) {
    if (exception.nr === VECTOR.DF) {
      makeRequest(vcpu, REQUEST.TRIPLE_FAULT);
      return;
    }
    const first = exceptionClass(exception.nr);
    const second = exceptionClass(nr);
    if ((first === "contributory" && second === "contributory") || (first === "page-fault" && second !== "benign")) {
      exception.hasErrorCode = true;
      exception.nr = VECTOR.DF;
      exception.errorCode = 0;
      return;
    }
    // Otherwise the new one replaces it: executing the instruction again raises the lost one again.
  }
  exception.pending = true;
  exception.hasErrorCode = hasErrorCode && isProtectedMode(vcpu);
  exception.nr = nr;
  exception.errorCode = errorCode;
  exception.reinject = reinject;
}

export function queueException(vcpu: VcpuState, nr: number): void {
  multipleException(vcpu, nr, false, 0, false);
}

export function queueExceptionE(vcpu: VcpuState, nr: number, errorCode: number): void {
  multipleException(vcpu, nr, true, errorCode, false);
}

export function requeueException(vcpu: VcpuState, nr: number): void {
  multipleException(vcpu, nr, false, 0, true);
}

export function requeueExceptionE(vcpu: VcpuState, nr: number, errorCode: number): void {
  multipleException(vcpu, nr, true, errorCode, true);
}

export function injectGp(vcpu: VcpuState, errorCode: number): void {
  queueExceptionE(vcpu, VECTOR.GP, errorCode);
}

export function injectPageFault(vcpu: VcpuState, errorCode: number, address: bigint): void {
  vcpu.arch.cr2 = address;
  queueExceptionE(vcpu, VECTOR.PF, errorCode);
}

/** Queue what an emulated instruction met. */
export function queueGuestException(vcpu: VcpuState, { vector, errorCode, cr2 }: GuestException): void {
  if (vector === VECTOR.PF) injectPageFault(vcpu, errorCode ?? 0, cr2 ?? 0n);
  else if (errorCode !== undefined) queueExceptionE(vcpu, vector, errorCode);
  else queueException(vcpu, vector);
}

/** kvm_inject_nmi: counted here, limited when the request is looked at. */
export function injectNmi(vcpu: VcpuState): void {
  vcpu.nmiQueued += 1;
  makeRequest(vcpu, REQUEST.NMI);
}

export function queueInterrupt(vcpu: VcpuState, vector: number, soft: boolean): void {
  const { interrupt } = vcpu.arch;
  interrupt.pending = true;
  interrupt.soft = soft;
  interrupt.nr = vector;
}

export function clearExceptionQueue(vcpu: VcpuState): void {
  vcpu.arch.exception.pending = false;
}

export function clearInterruptQueue(vcpu: VcpuState): void {
  vcpu.arch.interrupt.pending = false;
}

export function eventNeedsReinjection(vcpu: VcpuState): boolean {
  const { arch } = vcpu;
  return arch.exception.pending || arch.interrupt.pending || arch.nmiInjected;
}

/** kvm_complete_insn_gp. */
export function completeInsnGp(vcpu: VcpuState, refused: boolean): void {
  if (refused) injectGp(vcpu, 0);
  else vcpu.kvm.ops.skip_emulated_instruction(vcpu);
}

/** kvm_require_cpl: false, with #GP(0) queued, for a less privileged guest. */
export function requireCpl(vcpu: VcpuState, requiredCpl: number): boolean {
  if (vcpu.kvm.ops.get_cpl(vcpu) <= requiredCpl) return true;
  injectGp(vcpu, 0);
  return false;
}
