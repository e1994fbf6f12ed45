import { VMCS, VMCS_FIELDS, type VmcsFieldName } from "@tapvisor/x86-isa";
import type { VcpuVmx } from "../vcpu-vmx.js";
import { VM_SUCCEED } from "../processor.js";

/** Exit information of the entry before is stale after a failed one, but for these. */
const STILL_VALID: readonly VmcsFieldName[] = ["VM_INSTRUCTION_ERROR", "VM_EXIT_REASON", "EXIT_QUALIFICATION"];

/**
 * The current VMCS as text, a line a field, after the check that failed where the processor tells: what a failed entry is diagnosed from. Fields that the processor does not
 * have are left out.
 */
export function dumpVmcs(vmx: VcpuVmx): string {
  const { processor } = vmx.vmcs;
  const lines: string[] = [];
  if (processor.entryViolation !== undefined) lines.push(`failed check: ${processor.entryViolation}`);
  for (const { name, type } of VMCS_FIELDS) {
    if (type === "read-only" && !STILL_VALID.includes(name)) continue;
    const value = processor.vmread(VMCS[name]);
    if (processor.vmxStatus === VM_SUCCEED) lines.push(`${name} = 0x${value.toString(16)}`);
  }
  return lines.join("\n");
}
