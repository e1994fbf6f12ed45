import { DEBUGREG, GUESTDBG, type Vcpu } from "@tapvisor/kvm-core/contract";
import { CPU_BASED, DR6, DR6_BREAKPOINTS, DR7, VECTOR, VMCS } from "@tapvisor/x86-isa";
import { toVmx } from "../vcpu-vmx.js";

/** Fields of the exit qualification (SDM vol. 3, "Exit Qualification for MOV DR"). */
const DR = 7;
const FROM_DR = 1 << 4;
const REGISTER_SHIFT = 8;

export function handleDr(vcpu: Vcpu): boolean {
  const { kvm, ops, vmcs } = toVmx(vcpu);
  const { arch } = vcpu;
  const qualification = vmcs.read32(VMCS.EXIT_QUALIFICATION);
  const dr = qualification & DR;
  // DR4 and DR5 raise #UD with CR4.DE; then #GP for CPL > 0.
  if (!kvm.requireDr(vcpu, dr) || !kvm.requireCpl(vcpu, 0)) return true;
  const dr7 = vmcs.read(VMCS.GUEST_DR7);
  if ((dr7 & DR7.GD) !== 0n) {
    // The exit comes before the general-detect fault, so that is to be raised here.
    if ((arch.guestDebug & GUESTDBG.USE_HW_BP) !== 0) {
      vcpu.exit = { reason: "debug", exception: VECTOR.DB, pc: kvm.linearRip(vcpu), dr6: arch.dr6, dr7 };
      return false;
    }
    arch.dr6 = (arch.dr6 & ~DR6_BREAKPOINTS) | DR6.BD | DR6.RTM;
    kvm.queueException(vcpu, VECTOR.DB);
    return true;
  }
  if (arch.guestDebug === 0) {
    // Let the guest have the registers until the next exit, which reads them back, and try again.
    vmcs.clearBits(VMCS.CPU_BASED_VM_EXEC_CONTROL, CPU_BASED.MOV_DR_EXITING);
    arch.switchDbRegs |= DEBUGREG.WONT_EXIT;
    return true;
  }
  const register = (qualification >> REGISTER_SHIFT) & 0xf;
  if ((qualification & FROM_DR) !== 0) kvm.registerWrite(vcpu, register, kvm.getDr(vcpu, dr));
  // Refused: the exception is queued already.
  else if (kvm.setDr(vcpu, dr, kvm.registerReadL(vcpu, register))) return true;
  ops.skip_emulated_instruction(vcpu);
  return true;
}
