import { op, optional } from "../op.js";
import type { Vcpu } from "../vm.js";

export const TIME_OPS = {
  write_tsc_offset: op<(vcpu: Vcpu, offset: bigint) => void>()({
    args: ["vcpu", "offset"],
    context: "vcpu-loaded",
    hot: false,
    result: "void",
    summary: "Set the offset that is added to the host's TSC, modulo 2^64.",
  }),
  set_hv_timer: optional<(vcpu: Vcpu, deadlineTsc: bigint) => boolean>()({
    args: ["vcpu", "deadlineTsc"],
    context: "vcpu-loaded",
    hot: true,
    result: "boolean",
    returns: "armed: hardware exits at the deadline; false: it does not fit, and a host timer has to do",
    summary: "Arm the timer in hardware for a value of the guest's TSC.",
  }),
  cancel_hv_timer: optional<(vcpu: Vcpu) => void>()({
    args: ["vcpu"],
    context: "vcpu-loaded",
    hot: true,
    result: "void",
    summary: "Disarm the timer in hardware. Absent together with set_hv_timer.",
  }),
};
