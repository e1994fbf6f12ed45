import { REG, type Vcpu } from "@tapvisor/kvm-core/contract";
import { VMCS } from "@tapvisor/x86-isa";
import { toVmx } from "../vcpu-vmx.js";
import { savePdptrs } from "../vmcs/pdptrs.js";
import { VM86_FLAGS, vm86Flags } from "../vmcs/real-mode.js";

const RFLAGS_BIT = 1 << REG.RFLAGS;

/** Fetch what an exit left in the VMCS. Makes no bigint for RSP and RIP. */
export function vmxCacheReg(vcpu: Vcpu, reg: number): void {
  const { vmcs, intel } = toVmx(vcpu);
  const { arch } = vcpu;
  arch.regsAvail |= 1 << reg;
  if (reg === REG.RIP) vmcs.readWords(VMCS.GUEST_RIP, arch.regs.u32, 2 * REG.RIP);
  else if (reg === REG.RSP) vmcs.readWords(VMCS.GUEST_RSP, arch.regs.u32, 2 * REG.RSP);
  else if (reg === REG.PDPTR && intel.features.ept) savePdptrs(vcpu);
}

export function vmxGetRflags(vcpu: Vcpu): bigint {
  const vmx = toVmx(vcpu);
  const { arch } = vcpu;
  if ((arch.regsAvail & RFLAGS_BIT) === 0) {
    arch.regsAvail |= RFLAGS_BIT;
    const flags = vmx.vmcs.read(VMCS.GUEST_RFLAGS);
    const { realMode } = vmx;
    vmx.rflags = realMode.vm86Active ? (flags & ~VM86_FLAGS) | (realMode.savedRflags & VM86_FLAGS) : flags;
  }
  return vmx.rflags;
}

export function vmxSetRflags(vcpu: Vcpu, rflags: bigint): void {
  const vmx = toVmx(vcpu);
  vcpu.arch.regsAvail |= RFLAGS_BIT;
  vmx.rflags = rflags;
  if (vmx.realMode.vm86Active) {
    vmx.realMode.savedRflags = rflags;
    vmx.vmcs.write(VMCS.GUEST_RFLAGS, vm86Flags(vmx.intel, rflags));
  } else vmx.vmcs.write(VMCS.GUEST_RFLAGS, rflags);
}
