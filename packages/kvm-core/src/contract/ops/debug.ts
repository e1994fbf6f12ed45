import { op } from "../op.js";
import type { Vcpu } from "../vm.js";

export const DEBUG_OPS = {
  update_bp_intercept: op<(vcpu: Vcpu) => void>()({
    args: ["vcpu"],
    context: "vcpu-ioctl",
    hot: false,
    result: "void",
    summary: "Recompute which exceptions exit: after the debug settings, the use of the FPU or real mode changed.",
  }),
  get_dr6: op<(vcpu: Vcpu) => bigint>()({
    args: ["vcpu"],
    context: "vcpu-loaded",
    hot: false,
    result: "bigint",
    returns: "DR6",
    summary: "Read the guest's DR6.",
  }),
  set_dr6: op<(vcpu: Vcpu, value: bigint) => void>()({
    args: ["vcpu", "value"],
    context: "vcpu-loaded",
    hot: false,
    result: "void",
    summary: "Store DR6 where the backend keeps it. Empty on VT-x.",
  }),
  set_dr7: op<(vcpu: Vcpu, value: bigint) => void>()({
    args: ["vcpu", "value"],
    context: "vcpu-loaded",
    hot: false,
    result: "void",
    summary: "Write the DR7 in effect, the guest's or a debugger's.",
  }),
  sync_dirty_debug_regs: op<(vcpu: Vcpu) => void>()({
    args: ["vcpu"],
    context: "interrupts-off",
    hot: false,
    result: "void",
    fills: "db, dr6 and dr7 of vcpu.arch",
    summary: "Read back the debug registers that the guest was let write without an exit, and trap them again.",
  }),
};
