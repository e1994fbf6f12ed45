import { op } from "../op.js";
import type { ExitInfo } from "../state.js";
import type { Vcpu } from "../vm.js";

export const RUN_LOOP_OPS = {
  prepare_guest_switch: op<(vcpu: Vcpu) => void>()({
    args: ["vcpu"],
    context: "preempt-off",
    hot: true,
    result: "void",
    summary:
      "Save the host state that an exit does not restore and load the guest's, if that is not yet done since the last vcpu_put.",
  }),
  run: op<(vcpu: Vcpu) => void>()({
    args: ["vcpu"],
    context: "interrupts-off",
    hot: true,
    result: "void",
    fills: "the backend's own record of the exit, which handle_exit acts on",
    summary: "Enter the guest and come back after one exit. Returns at once where the guest state needs emulation.",
  }),
  handle_exit: op<(vcpu: Vcpu) => boolean>()({
    args: ["vcpu"],
    context: "vcpu-loaded",
    hot: true,
    result: "boolean",
    returns: "resume: stay in the run loop and enter again; false: return to user space with vcpu.exit filled in",
    throws: ["EFAULT", "ENOMEM"],
    summary: "Act on the exit that run collected, by its reason.",
  }),
  skip_emulated_instruction: op<(vcpu: Vcpu) => void>()({
    args: ["vcpu"],
    context: "vcpu-loaded",
    hot: true,
    result: "void",
    summary: "Advance RIP past the instruction that caused the exit and end its interrupt shadow.",
  }),
  get_exit_info: op<(vcpu: Vcpu, info: ExitInfo) => void>()({
    args: ["vcpu", "info"],
    context: "vcpu-loaded",
    hot: false,
    result: "void",
    fills: "info",
    summary: "Give the raw details of the last exit, for tracing.",
  }),
  handle_external_intr: op<(vcpu: Vcpu) => void>()({
    args: ["vcpu"],
    context: "interrupts-off",
    hot: true,
    result: "void",
    summary: "Serve the host interrupt that ended the guest's turn, before interrupts are turned on.",
  }),
};
