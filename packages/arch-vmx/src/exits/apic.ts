import { REQUEST, type Vcpu } from "@tapvisor/kvm-core/contract";
import { VMCS } from "@tapvisor/x86-isa";
import { toVmx } from "../vcpu-vmx.js";

/** Exit qualification of an APIC access: offset in bits 11:0, type in 15:12. */
const OFFSET = 0xfff;
const TYPE_SHIFT = 12;
const LINEAR_WRITE = 1;
const EOI_REGISTER = 0xb0;

export function handleTprBelowThreshold(vcpu: Vcpu): boolean {
  toVmx(vcpu).kvm.makeRequest(vcpu, REQUEST.EVENT);
  return true;
}

export function handleApicAccess(vcpu: Vcpu): boolean {
  const { kvm, ops, vmcs } = toVmx(vcpu);
  const qualification = vmcs.read32(VMCS.EXIT_QUALIFICATION);
  // A write to EOI is what most accesses are, and its value does not matter.
  if (((qualification >> TYPE_SHIFT) & 0xf) === LINEAR_WRITE && (qualification & OFFSET) === EOI_REGISTER) {
    kvm.lapicSetEoi(vcpu);
    ops.skip_emulated_instruction(vcpu);
    return true;
  }
  return kvm.emulateInstruction(vcpu) === "done";
}
