import { op } from "../op.js";

export const PER_CPU_OPS = {
  check_processor_compatibility: op<() => boolean>()({
    args: [],
    context: "per-cpu",
    hot: false,
    result: "boolean",
    returns: "compatible: this processor has what hardware_setup settled on; otherwise registration fails with EIO",
    summary: "Compare the capabilities of the current processor with those that hardware_setup stored.",
  }),
  hardware_enable: op<() => void>()({
    args: [],
    context: "per-cpu",
    hot: false,
    result: "void",
    throws: ["EBUSY", "EIO"],
    summary: "Switch virtualization on for the current processor: on each, with the first VM.",
  }),
  hardware_disable: op<() => void>()({
    args: [],
    context: "per-cpu",
    hot: false,
    result: "void",
    summary: "Switch virtualization off for the current processor, and let go of every vCPU state that it holds.",
  }),
};
