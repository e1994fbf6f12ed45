import { op } from "../op.js";
import type { Vcpu } from "../vm.js";

export const REGISTER_GPR_OPS = {
  cache_reg: op<(vcpu: Vcpu, reg: number) => void>()({
    args: ["vcpu", "reg"],
    group: "register-gpr",
    context: "vcpu-loaded",
    hot: true,
    result: "void",
    returns: "nothing; fills vcpu.arch and sets the register's bit in regsAvail",
    summary: "Fetch a register that is cached on demand: RSP, RIP or the PDPTEs.",
  }),
  get_rflags: op<(vcpu: Vcpu) => bigint>()({
    args: ["vcpu"],
    group: "register-gpr",
    context: "vcpu-loaded",
    hot: false,
    result: "bigint",
    returns: "RFLAGS as the guest sees it",
    summary: "Read RFLAGS.",
  }),
  set_rflags: op<(vcpu: Vcpu, rflags: bigint) => void>()({
    args: ["vcpu", "rflags"],
    group: "register-gpr",
    context: "vcpu-loaded",
    hot: false,
    result: "void",
    returns: "nothing",
    summary: "Write RFLAGS.",
  }),
};
