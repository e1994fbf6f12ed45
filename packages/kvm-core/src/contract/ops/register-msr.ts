import { op } from "../op.js";
import type { MsrAccess } from "../state.js";
import type { Vcpu } from "../vm.js";

export const REGISTER_MSR_OPS = {
  get_msr: op<(vcpu: Vcpu, msr: MsrAccess) => boolean>()({
    args: ["vcpu", "msr"],
    context: "vcpu-loaded",
    hot: true,
    result: "boolean",
    returns: "refused: the guest gets #GP(0), user space stops; false: msr.data is filled in",
    summary: "Read one MSR, for the guest or for user space.",
  }),
  set_msr: op<(vcpu: Vcpu, msr: MsrAccess) => boolean>()({
    args: ["vcpu", "msr"],
    context: "vcpu-loaded",
    hot: true,
    result: "boolean",
    returns: "refused: the guest gets #GP(0), user space stops",
    summary: "Write one MSR, for the guest or for user space.",
  }),
};
