import type { Vcpu } from "@tapvisor/kvm-core/contract";
import { IO_QUALIFICATION, IO_QUALIFICATION_PORT_SHIFT, VMCS } from "@tapvisor/x86-isa";
import { toVmx } from "../vcpu-vmx.js";

export function handleIo(vcpu: Vcpu): boolean {
  const { kvm, ops, vmcs } = toVmx(vcpu);
  const qualification = vmcs.read32(VMCS.EXIT_QUALIFICATION);
  if ((qualification & IO_QUALIFICATION.STRING) !== 0) return kvm.emulateInstruction(vcpu) === "done";
  const bytes = (qualification & IO_QUALIFICATION.SIZE) + 1;
  const size = bytes === 1 ? 1 : bytes === 2 ? 2 : 4;
  const direction = (qualification & IO_QUALIFICATION.IN) !== 0 ? "in" : "out";
  ops.skip_emulated_instruction(vcpu);
  return kvm.fastPio(vcpu, direction, size, qualification >>> IO_QUALIFICATION_PORT_SHIFT);
}
