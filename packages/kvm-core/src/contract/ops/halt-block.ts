import { optional, ret0 } from "../op.js";
import type { Vcpu } from "../vm.js";

export const HALT_BLOCK_OPS = {
  pre_block: ret0<(vcpu: Vcpu) => boolean>()({
    args: ["vcpu"],
    context: "vcpu-loaded",
    hot: false,
    result: "boolean",
    returns: "pending: an event was posted meanwhile, do not block",
    summary: "Prepare a halted vCPU for sleep: have posted interrupts wake it, and the timer run without it.",
  }),
  post_block: optional<(vcpu: Vcpu) => void>()({
    args: ["vcpu"],
    context: "vcpu-loaded",
    hot: false,
    result: "void",
    summary: "Undo pre_block after the vCPU woke.",
  }),
  vcpu_blocking: optional<(vcpu: Vcpu) => void>()({
    args: ["vcpu"],
    context: "preempt-off",
    hot: false,
    result: "void",
    summary: "Hear that the vCPU begins to sleep. Only SVM has it in 4.9.",
  }),
  vcpu_unblocking: optional<(vcpu: Vcpu) => void>()({
    args: ["vcpu"],
    context: "preempt-off",
    hot: false,
    result: "void",
    summary: "Hear that the vCPU stops sleeping. Only SVM has it in 4.9.",
  }),
};
