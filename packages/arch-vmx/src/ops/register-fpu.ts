import type { Vcpu } from "@tapvisor/kvm-core/contract";
import { CR0, VMCS } from "@tapvisor/x86-isa";
import { toVmx, type VcpuVmx } from "../vcpu-vmx.js";

export function vmxGetPkru(vcpu: Vcpu): number {
  return toVmx(vcpu).guestPkru;
}

function setCr0GuestOwnedBits(vcpu: Vcpu, vmx: VcpuVmx, bits: bigint): void {
  vcpu.arch.cr0GuestOwnedBits = bits;
  vmx.vmcs.write(VMCS.CR0_GUEST_HOST_MASK, ~bits);
}

/** The guest gets the FPU: its own TS and MP are in force, and it owns TS. */
export function vmxFpuActivate(vcpu: Vcpu): void {
  const { arch } = vcpu;
  if (arch.fpuActive) return;
  const vmx = toVmx(vcpu);
  arch.fpuActive = true;
  const own = vmx.kvm.readCr0(vcpu, CR0.TS | CR0.MP);
  const cr0 = vmx.vmcs.read(VMCS.GUEST_CR0);
  vmx.vmcs.write(VMCS.GUEST_CR0, (cr0 & ~(CR0.TS | CR0.MP)) | own);
  vmx.ops.update_bp_intercept(vcpu);
  setCr0GuestOwnedBits(vcpu, vmx, CR0.TS);
}

/** The guest is to meet #NM at its next use of the FPU. The caller has cleared `fpuActive`. */
export function vmxFpuDeactivate(vcpu: Vcpu): void {
  const vmx = toVmx(vcpu);
  vmx.ops.decache_cr0_guest_bits(vcpu);
  vmx.vmcs.write(VMCS.GUEST_CR0, vmx.vmcs.read(VMCS.GUEST_CR0) | CR0.TS | CR0.MP);
  vmx.ops.update_bp_intercept(vcpu);
  setCr0GuestOwnedBits(vcpu, vmx, 0n);
  vmx.vmcs.write(VMCS.CR0_READ_SHADOW, vcpu.arch.cr0);
}
