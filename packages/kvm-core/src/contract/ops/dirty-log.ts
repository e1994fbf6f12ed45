import { optional } from "../op.js";
import type { MemorySlot, Vm } from "../vm.js";

export const DIRTY_LOG_OPS = {
  slot_enable_log_dirty: optional<(vm: Vm, slot: MemorySlot) => void>()({
    args: ["vm", "slot"],
    context: "vm-ioctl",
    hot: false,
    result: "void",
    summary: "Begin to log writes to the slot in hardware. Where absent, the core write-protects the slot.",
  }),
  slot_disable_log_dirty: optional<(vm: Vm, slot: MemorySlot) => void>()({
    args: ["vm", "slot"],
    context: "vm-ioctl",
    hot: false,
    result: "void",
    summary: "Stop logging writes to the slot: mark its pages dirty in advance, so that nothing is recorded.",
  }),
  flush_log_dirty: optional<(vm: Vm) => void>()({
    args: ["vm"],
    context: "vm-ioctl",
    hot: false,
    result: "void",
    summary: "Have every vCPU hand over what its hardware logged, before user space reads the bitmap.",
  }),
  enable_log_dirty_pt_masked: optional<(vm: Vm, slot: MemorySlot, offset: number, mask: bigint) => void>()({
    args: ["vm", "slot", "offset", "mask"],
    context: "mmu-lock",
    hot: false,
    result: "void",
    summary: "Log again the pages of a 64-bit mask, from page offset of the slot, once they were reported.",
  }),
};
