import { KvmError } from "@tapvisor/kvm-core/contract";
import { VMCS, vmcsField, vmxInstructionErrorName } from "@tapvisor/x86-isa";
import { VM_FAIL_VALID, type VmxProcessor } from "./processor.js";

/** Why the newest VMX instruction failed, as far as the processor can tell. */
function failure(processor: VmxProcessor): string {
  if (processor.vmptrst() === -1) return "VMfailInvalid: no current VMCS";
  const before = processor.vmxStatus;
  const number = processor.vmread32(VMCS.VM_INSTRUCTION_ERROR);
  return before === VM_FAIL_VALID || number !== 0 ? `VMfailValid: ${vmxInstructionErrorName(number)}` : "VMfailInvalid";
}

/** VMREAD or VMWRITE of `field` failed. */
export function vmaccessError(processor: VmxProcessor, instruction: "VMREAD" | "VMWRITE", field: number): KvmError {
  const name = vmcsField(field)?.name ?? "unknown field";
  return new KvmError("EIO", instruction, `${instruction} of ${name} (0x${field.toString(16)}): ${failure(processor)}`);
}

/** Another VMX instruction failed on the operand `address`. */
export function vmxInstructionError(processor: VmxProcessor, instruction: string, address: number): KvmError {
  return new KvmError("EIO", instruction, `${instruction} of 0x${address.toString(16)}: ${failure(processor)}`);
}

/** An op that is registered but not implemented yet. */
export function notImplemented(op: string): KvmError {
  return new KvmError("ENOSYS", op, `arch-vmx does not implement the op ${op} yet`);
}
