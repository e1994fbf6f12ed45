import { INVEPT_TYPE, INVVPID_TYPE, EPTP, EPTP_WALK_LENGTH_SHIFT, MEMORY_TYPE, PAGE_SIZE } from "@tapvisor/x86-isa";
import { vmxInstructionError } from "../errors.js";
import type { KvmIntel } from "../kvm-intel.js";
import { VM_SUCCEED, type VmxProcessor } from "../processor.js";
import { hasInveptContext, hasInveptGlobal, hasInvvpidGlobal, hasInvvpidSingle } from "./capabilities.js";

/** Levels of the second-stage table. */
export const EPT_LEVELS = 4;

/** Value of the EPT pointer for a root table (SDM vol. 3, "Extended-Page-Table Pointer (EPTP)"). */
export function constructEptp(intel: KvmIntel, root: number): number {
  const low =
    MEMORY_TYPE.WB |
    ((EPT_LEVELS - 1) << EPTP_WALK_LENGTH_SHIFT) |
    (intel.features.eptAccessedDirty ? EPTP.ACCESSED_DIRTY : 0);
  return root - (root % PAGE_SIZE) + low;
}

function invvpid(processor: VmxProcessor, type: number, vpid: number): void {
  if (processor.invvpid(type, vpid, 0n) !== VM_SUCCEED) throw vmxInstructionError(processor, "INVVPID", vpid);
}

function invept(processor: VmxProcessor, type: number, eptp: number): void {
  if (processor.invept(type, eptp) !== VM_SUCCEED) throw vmxInstructionError(processor, "INVEPT", eptp);
}

/** Drop the linear and combined translations of one VPID; of all, where the processor can do no less. */
export function vpidSyncContext(intel: KvmIntel, processor: VmxProcessor, vpid: number): void {
  if (hasInvvpidSingle(intel.config)) {
    if (vpid !== 0) invvpid(processor, INVVPID_TYPE.SINGLE_CONTEXT, vpid);
  } else if (hasInvvpidGlobal(intel.config)) invvpid(processor, INVVPID_TYPE.ALL_CONTEXT, 0);
}

export function eptSyncGlobal(intel: KvmIntel, processor: VmxProcessor): void {
  if (hasInveptGlobal(intel.config)) invept(processor, INVEPT_TYPE.ALL_CONTEXT, 0);
}

export function eptSyncContext(intel: KvmIntel, processor: VmxProcessor, eptp: number): void {
  if (!intel.features.ept) return;
  if (hasInveptContext(intel.config)) invept(processor, INVEPT_TYPE.SINGLE_CONTEXT, eptp);
  else eptSyncGlobal(intel, processor);
}
