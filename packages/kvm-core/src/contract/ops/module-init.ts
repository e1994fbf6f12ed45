import { op } from "../op.js";

export const MODULE_INIT_OPS = {
  cpu_has_kvm_support: op<() => boolean>()({
    args: [],
    context: "module",
    hot: false,
    result: "boolean",
    returns: "supported: the processor has the extension; otherwise registration fails with EOPNOTSUPP",
    summary: "Probe the processor for the virtualization extension. The first op called; no state exists yet.",
  }),
  disabled_by_bios: op<() => boolean>()({
    args: [],
    context: "module",
    hot: false,
    result: "boolean",
    returns: "disabled: the firmware locked the extension off; registration fails with EOPNOTSUPP",
    summary: "Ask whether the firmware forbids the extension.",
  }),
  hardware_setup: op<() => void>()({
    args: [],
    context: "module",
    hot: false,
    result: "void",
    throws: ["EIO", "ENOMEM", "EOPNOTSUPP"],
    summary:
      "Allocate what all processors share, read the capabilities, settle the features, and take out the optional ops that the processor cannot serve. The call table is frozen after it.",
  }),
  hardware_unsetup: op<() => void>()({
    args: [],
    context: "module",
    hot: false,
    result: "void",
    summary: "Undo hardware_setup: on removal, or when a later step of registration fails.",
  }),
};
