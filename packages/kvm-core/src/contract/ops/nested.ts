import type { InstructionInfo, InterceptStage } from "../intercept.js";
import { op, ret0 } from "../op.js";
import type { Vcpu } from "../vm.js";

export const NESTED_OPS = {
  check_intercept: op<(vcpu: Vcpu, info: InstructionInfo, stage: InterceptStage) => "continue" | "intercepted">()({
    args: ["vcpu", "info", "stage"],
    context: "vcpu-loaded",
    hot: false,
    result: ["continue", "intercepted"],
    returns: "continue: go on; intercepted: an exit to the guest's hypervisor was made",
    summary: "Ask, while an instruction of a nested guest is emulated, whether the guest's hypervisor intercepts it.",
  }),
  check_nested_events: ret0<(vcpu: Vcpu, externalIntr: boolean) => boolean>()({
    args: ["vcpu", "externalIntr"],
    context: "vcpu-loaded",
    hot: true,
    result: "boolean",
    returns: "busy: an entry to the nested guest must finish first (EBUSY)",
    summary: "Turn a pending timer, NMI or interrupt into an exit to the guest's hypervisor where that asked for it.",
  }),
};
