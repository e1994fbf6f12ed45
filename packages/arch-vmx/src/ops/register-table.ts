import type { DescriptorTable, Vcpu } from "@tapvisor/kvm-core/contract";
import { VMCS } from "@tapvisor/x86-isa";
import { toVmx } from "../vcpu-vmx.js";

function get(vcpu: Vcpu, limit: number, base: number, table: DescriptorTable): void {
  const { vmcs } = toVmx(vcpu);
  table.size = vmcs.read32(limit);
  table.address = vmcs.read(base);
}

function set(vcpu: Vcpu, limit: number, base: number, table: DescriptorTable): void {
  const { vmcs } = toVmx(vcpu);
  vmcs.write32(limit, table.size);
  vmcs.write(base, table.address);
}

export function vmxGetIdt(vcpu: Vcpu, table: DescriptorTable): void {
  get(vcpu, VMCS.GUEST_IDTR_LIMIT, VMCS.GUEST_IDTR_BASE, table);
}

export function vmxSetIdt(vcpu: Vcpu, table: DescriptorTable): void {
  set(vcpu, VMCS.GUEST_IDTR_LIMIT, VMCS.GUEST_IDTR_BASE, table);
}

export function vmxGetGdt(vcpu: Vcpu, table: DescriptorTable): void {
  get(vcpu, VMCS.GUEST_GDTR_LIMIT, VMCS.GUEST_GDTR_BASE, table);
}

export function vmxSetGdt(vcpu: Vcpu, table: DescriptorTable): void {
  set(vcpu, VMCS.GUEST_GDTR_LIMIT, VMCS.GUEST_GDTR_BASE, table);
}
