import type { Vcpu } from "@tapvisor/kvm-core/contract";
import { CR0, CR_ACCESS_TYPE, EXIT_REASON, VMCS } from "@tapvisor/x86-isa";
import { toVmx } from "../vcpu-vmx.js";

/** Fields of the exit qualification (SDM vol. 3, "Exit Qualification for Control-Register Accesses"). */
const CR = 0xf;
const TYPE_SHIFT = 4;
const REGISTER_SHIFT = 8;
const LMSW_SOURCE_SHIFT = 16;
/** PE, MP, EM and TS: all that LMSW loads. */
const LMSW_BITS = 0xf;

export function handleCr(vcpu: Vcpu): boolean {
  const { kvm, ops, vmcs } = toVmx(vcpu);
  const qualification = vmcs.read32(VMCS.EXIT_QUALIFICATION);
  const cr = qualification & CR;
  const register = (qualification >> REGISTER_SHIFT) & 0xf;
  switch ((qualification >> TYPE_SHIFT) & 3) {
    case CR_ACCESS_TYPE.MOV_TO_CR:
      return movToCr(vcpu, cr, kvm.registerReadL(vcpu, register));
    case CR_ACCESS_TYPE.MOV_FROM_CR:
      if (cr !== 3 && cr !== 8) return unknownAccess(vcpu);
      kvm.registerWrite(vcpu, register, cr === 3 ? kvm.readCr3(vcpu) : kvm.getCr8(vcpu));
      ops.skip_emulated_instruction(vcpu);
      return true;
    case CR_ACCESS_TYPE.CLTS:
      ops.set_cr0(vcpu, kvm.readCr0(vcpu) & ~CR0.TS);
      ops.skip_emulated_instruction(vcpu);
      ops.fpu_activate(vcpu);
      return true;
    default:
      kvm.lmsw(vcpu, (qualification >> LMSW_SOURCE_SHIFT) & LMSW_BITS);
      ops.skip_emulated_instruction(vcpu);
      return true;
  }
}

function movToCr(vcpu: Vcpu, cr: number, value: bigint): boolean {
  const { kvm } = toVmx(vcpu);
  switch (cr) {
    case 0:
      kvm.completeInsnGp(vcpu, kvm.setCr0(vcpu, value));
      return true;
    case 3:
      kvm.completeInsnGp(vcpu, kvm.setCr3(vcpu, value));
      return true;
    case 4:
      kvm.completeInsnGp(vcpu, kvm.setCr4(vcpu, value));
      return true;
    case 8: {
      const before = kvm.getCr8(vcpu);
      kvm.completeInsnGp(vcpu, kvm.setCr8(vcpu, value));
      // User space has the APIC, and wants to know that the priority dropped.
      if (kvm.lapicInKernel(vcpu) || before <= kvm.getCr8(vcpu)) return true;
      vcpu.exit = { reason: "set_tpr" };
      return false;
    }
    default:
      return unknownAccess(vcpu);
  }
}

/** No control makes such an access exit. */
function unknownAccess(vcpu: Vcpu): boolean {
  vcpu.exit = { reason: "unknown", hardwareExitReason: EXIT_REASON.CR_ACCESS };
  return false;
}
