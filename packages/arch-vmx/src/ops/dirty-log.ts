import type { MemorySlot, Vm } from "@tapvisor/kvm-core/contract";
import { notImplemented } from "../errors.js";

// hardware_setup takes these out of the table on a processor without page-modification logging.

export function vmxSlotEnableLogDirty(_vm: Vm, _slot: MemorySlot): void {
  throw notImplemented("slot_enable_log_dirty");
}

export function vmxSlotDisableLogDirty(_vm: Vm, _slot: MemorySlot): void {
  throw notImplemented("slot_disable_log_dirty");
}

export function vmxFlushLogDirty(_vm: Vm): void {
  throw notImplemented("flush_log_dirty");
}

export function vmxEnableLogDirtyPtMasked(_vm: Vm, _slot: MemorySlot, _offset: number, _mask: bigint): void {
  throw notImplemented("enable_log_dirty_pt_masked");
}
