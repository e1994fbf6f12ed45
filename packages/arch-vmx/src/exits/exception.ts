import { GUESTDBG, type Vcpu } from "@tapvisor/kvm-core/contract";
import {
  DR6, DR6_BREAKPOINTS, DR6_FIXED_1, INTERRUPTIBILITY, INTR_INFO, INTR_INFO_TYPE_SHIFT, INTR_TYPE, PAGE_FAULT, PENDING_DEBUG, RFLAGS, VECTOR, VMCS,
} from "@tapvisor/x86-isa"; // prettier-ignore
import { toVmx } from "../vcpu-vmx.js";

const TF = Number(RFLAGS.TF);
const DEBUGGER_STEPS = GUESTDBG.SINGLESTEP | GUESTDBG.USE_HW_BP;

/** `run` has told the host already. */
export function handleMachineCheck(_vcpu: Vcpu): boolean {
  return true;
}

export function handleTripleFault(vcpu: Vcpu): boolean {
  vcpu.exit = { reason: "shutdown" };
  return false;
}

export function handleException(vcpu: Vcpu): boolean {
  const vmx = toVmx(vcpu);
  const { kvm, ops, vmcs } = vmx;
  const info = vmx.exitIntrInfo;
  const type = (info & INTR_INFO.TYPE) >> INTR_INFO_TYPE_SHIFT;
  const vector = info & INTR_INFO.VECTOR;
  const fault = type === INTR_TYPE.HARD_EXCEPTION;

  // `run` has told the host of both already.
  if (type === INTR_TYPE.NMI_INTR || (fault && vector === VECTOR.MC)) return true;
  if (fault && vector === VECTOR.NM) {
    ops.fpu_activate(vcpu);
    return true;
  }
  if (fault && vector === VECTOR.UD) {
    const result = kvm.emulateInstruction(vcpu, { trapUd: true });
    if (result === "fail") kvm.queueException(vcpu, VECTOR.UD);
    return result !== "user_exit";
  }

  const errorCode = (info & INTR_INFO.DELIVER_CODE) !== 0 ? vmcs.read32(VMCS.VM_EXIT_INTR_ERROR_CODE) : 0;
  const pageFault = fault && vector === VECTOR.PF;
  const vectoring = vmx.idtVectoringInfo;
  // A second event during the delivery of a first. Page faults are the MMU's, but for reserved bits: that is MMIO.
  if ((vectoring & INTR_INFO.VALID) !== 0 && !(pageFault && (errorCode & PAGE_FAULT.RSVD) === 0)) {
    // #DB and #AC are intercepted for the host's safety alone; the guest takes them as if they were not.
    if (!vmx.realMode.vm86Active && (vector === VECTOR.AC || (vector === VECTOR.DB && !debuggerOwns(vcpu))))
      return reflect(vcpu, vector, errorCode, type);
    vcpu.exit = {
      reason: "internal_error",
      suberror: "simul_ex",
      data: [BigInt(vectoring), BigInt(info), BigInt(errorCode)],
    };
    return false;
  }
  if (pageFault) return kvm.mmuPageFault(vcpu, Number(vmcs.read(VMCS.EXIT_QUALIFICATION)), errorCode);
  if (vmx.realMode.vm86Active && isRealModeException(vcpu, vector)) return realModeException(vcpu, vector, errorCode);

  switch (vector) {
    case VECTOR.AC:
      return reflect(vcpu, vector, errorCode, type);
    case VECTOR.DB:
      if (!debuggerOwns(vcpu)) return reflect(vcpu, vector, errorCode, type);
      return toDebugger(vcpu, vector, vmcs.read(VMCS.EXIT_QUALIFICATION) | DR6_FIXED_1);
    case VECTOR.BP:
      return toDebugger(vcpu, vector, 0n);
    default:
      vcpu.exit = { reason: "exception", exception: vector, errorCode };
      return false;
  }
}

function debuggerOwns(vcpu: Vcpu): boolean {
  return (vcpu.arch.guestDebug & DEBUGGER_STEPS) !== 0;
}

/** Give #DB or #AC to the guest, whose it is. */
function reflect(vcpu: Vcpu, vector: number, errorCode: number, type: number): boolean {
  const { kvm, ops, vmcs } = toVmx(vcpu);
  if (vector === VECTOR.AC) {
    kvm.queueExceptionE(vcpu, VECTOR.AC, errorCode);
    return true;
  }
  const { arch } = vcpu;
  if (type === INTR_TYPE.PRIV_SW_EXCEPTION) {
    // INT1 is a trap, but its exit comes before the instruction has ended. It goes before a single-step trap.
    const { dr6 } = arch;
    ops.skip_emulated_instruction(vcpu);
    arch.dr6 = dr6;
  } else if (
    (vmcs.read32(VMCS.GUEST_RFLAGS) & TF) !== 0 &&
    (vmcs.read32(VMCS.GUEST_INTERRUPTIBILITY_INFO) & (INTERRUPTIBILITY.STI | INTERRUPTIBILITY.MOV_SS)) !== 0
  ) {
    // STI and MOV SS do not change TF, so the trap after them is due: an entry in their shadow wants to see it pending
    // (SDM vol. 3, "Checks on Guest Non-Register State"), which an exit by #DB itself does not save.
    vmcs.write(VMCS.GUEST_PENDING_DBG_EXCEPTIONS, vmcs.read(VMCS.GUEST_PENDING_DBG_EXCEPTIONS) | PENDING_DEBUG.BS);
  }
  arch.dr6 = (arch.dr6 & ~DR6_BREAKPOINTS) | vmcs.read(VMCS.EXIT_QUALIFICATION) | DR6.RTM;
  kvm.queueException(vcpu, VECTOR.DB);
  return true;
}

function toDebugger(vcpu: Vcpu, exception: number, dr6: bigint): boolean {
  const { kvm, vmcs } = toVmx(vcpu);
  // User space may inject #BP again, which needs it.
  vcpu.arch.eventExitInstLen = vmcs.read32(VMCS.VM_EXIT_INSTRUCTION_LEN);
  const pc = BigInt.asUintN(64, vmcs.read(VMCS.GUEST_CS_BASE) + kvm.ripRead(vcpu));
  vcpu.exit = { reason: "debug", exception, pc, dr6, dr7: vmcs.read(VMCS.GUEST_DR7) };
  return false;
}

const REAL_MODE_EXCEPTIONS: readonly number[] = [
  VECTOR.DE, VECTOR.DB, VECTOR.BP, VECTOR.OF, VECTOR.BR, VECTOR.UD, VECTOR.DF, VECTOR.SS, VECTOR.GP, VECTOR.MF,
]; // prettier-ignore

/** Is it one that real mode has, and the guest's rather than the debugger's? */
function isRealModeException(vcpu: Vcpu, vector: number): boolean {
  const { guestDebug } = vcpu.arch;
  if (vector === VECTOR.BP) {
    vcpu.arch.eventExitInstLen = toVmx(vcpu).vmcs.read32(VMCS.VM_EXIT_INSTRUCTION_LEN);
    if ((guestDebug & GUESTDBG.USE_SW_BP) !== 0) return false;
  }
  if ((vector === VECTOR.BP || vector === VECTOR.DB) && (guestDebug & DEBUGGER_STEPS) !== 0) return false;
  return REAL_MODE_EXCEPTIONS.includes(vector);
}

function realModeException(vcpu: Vcpu, vector: number, errorCode: number): boolean {
  const { kvm } = toVmx(vcpu);
  // Virtual-8086 mode faults on what real mode allows: privileged instructions, and CLI or INT with IOPL below 3.
  if ((vector === VECTOR.GP || vector === VECTOR.SS) && errorCode === 0) return kvm.emulateInstruction(vcpu) === "done";
  kvm.queueException(vcpu, vector);
  return true;
}
