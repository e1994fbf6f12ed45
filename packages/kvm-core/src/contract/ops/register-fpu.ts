import { op } from "../op.js";
import type { Vcpu } from "../vm.js";

export const REGISTER_FPU_OPS = {
  get_pkru: op<(vcpu: Vcpu) => number>()({
    args: ["vcpu"],
    context: "vcpu-loaded",
    hot: false,
    result: "number",
    returns: "PKRU, 32 bits",
    summary: "Read the guest's protection-key rights as of the last exit.",
  }),
  fpu_activate: op<(vcpu: Vcpu) => void>()({
    args: ["vcpu"],
    context: "vcpu-loaded",
    hot: false,
    result: "void",
    summary: "Give the guest the FPU: trap #NM no longer, and let it own CR0.TS.",
  }),
  fpu_deactivate: op<(vcpu: Vcpu) => void>()({
    args: ["vcpu"],
    context: "before-entry",
    hot: false,
    result: "void",
    summary: "Take the FPU away until the guest uses it: set CR0.TS in hardware only, and trap #NM.",
  }),
};
