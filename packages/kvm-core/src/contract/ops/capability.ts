import { op } from "../op.js";
import type { CpuidEntry } from "../state.js";
import type { Vcpu } from "../vm.js";

export const CAPABILITY_OPS = {
  cpu_has_accelerated_tpr: op<() => boolean>()({
    args: [],
    context: "vm-ioctl",
    hot: false,
    result: "boolean",
    returns: "accelerated: hardware serves accesses to the TPR; KVM_CAP_VAPIC says the contrary",
    summary: "Ask whether accesses to the task-priority register need no exit.",
  }),
  cpu_has_high_real_mode_segbase: op<() => boolean>()({
    args: [],
    context: "vm-ioctl",
    hot: false,
    result: "boolean",
    returns: "able: real mode runs with segment bases above 1 MiB, which SMM needs",
    summary:
      "Ask whether real-mode code may run with any segment base. Decides KVM_CAP_X86_SMM and whether MSR_IA32_SMBASE is listed.",
  }),
  cpuid_update: op<(vcpu: Vcpu) => void>()({
    args: ["vcpu"],
    context: "vcpu-ioctl",
    hot: false,
    result: "void",
    summary: "Follow a new guest CPUID: recompute the controls that depend on it.",
  }),
  rdtscp_supported: op<() => boolean>()({
    args: [],
    context: "vm-ioctl",
    hot: false,
    result: "boolean",
    returns: "supported: guests may be offered RDTSCP, and IA32_TSC_AUX is listed",
    summary: "Ask whether RDTSCP can run in a guest.",
  }),
  invpcid_supported: op<() => boolean>()({
    args: [],
    context: "vm-ioctl",
    hot: false,
    result: "boolean",
    returns: "supported: guests may be offered INVPCID",
    summary: "Ask whether INVPCID can run in a guest.",
  }),
  set_supported_cpuid: op<(leaf: number, entry: CpuidEntry) => void>()({
    args: ["leaf", "entry"],
    context: "vm-ioctl",
    hot: false,
    result: "void",
    fills: "entry",
    summary: "Add to one supported CPUID leaf the bits that only the backend can grant.",
  }),
  mpx_supported: op<() => boolean>()({
    args: [],
    context: "vm-ioctl",
    hot: false,
    result: "boolean",
    returns: "supported: guests may be offered MPX, its XCR0 bits and IA32_BNDCFGS",
    summary: "Ask whether the bounds registers are switched with the guest.",
  }),
  xsaves_supported: op<() => boolean>()({
    args: [],
    context: "vm-ioctl",
    hot: false,
    result: "boolean",
    returns: "supported: guests may be offered XSAVES, XRSTORS and IA32_XSS",
    summary: "Ask whether XSAVES and XRSTORS can run in a guest.",
  }),
};
