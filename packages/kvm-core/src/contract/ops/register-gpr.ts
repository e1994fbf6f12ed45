import { op } from "../op.js";
import type { Vcpu } from "../vm.js";

export const REGISTER_GPR_OPS = {
  cache_reg: op<(vcpu: Vcpu, reg: number) => void>()({
    args: ["vcpu", "reg"],
    context: "vcpu-loaded",
    hot: true,
    result: "void",
    fills: "the register in vcpu.arch and its bit in regsAvail",
    summary: "Fetch a register that is cached on demand: RSP, RIP or the PDPTEs.",
  }),
  get_rflags: op<(vcpu: Vcpu) => bigint>()({
    args: ["vcpu"],
    context: "vcpu-loaded",
    hot: false,
    result: "bigint",
    returns: "RFLAGS as the guest sees it",
    summary: "Read RFLAGS.",
  }),
  set_rflags: op<(vcpu: Vcpu, rflags: bigint) => void>()({
    args: ["vcpu", "rflags"],
    context: "vcpu-loaded",
    hot: false,
    result: "void",
    summary: "Write RFLAGS.",
  }),
};
