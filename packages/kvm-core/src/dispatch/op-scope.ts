import { describeOp } from "../contract/index.js";
import type { OpName, Pmc, ScopeKind, Vcpu, Vm } from "../contract/index.js";
import type { AnyArgs } from "../hooks/op-call-record.js";

/** Reads off the arguments of a call whose it is. */
export type WhoseCall = (args: AnyArgs) => { readonly vm: Vm | undefined; readonly vcpu: Vcpu | undefined };

const NOBODY = Object.freeze({ vm: undefined, vcpu: undefined });

/** The name of an op's first argument says whose call it is. */
export function whoseCall(op: OpName): WhoseCall {
  switch (describeOp(op).args[0]) {
    case "vcpu":
      return (args) => {
        const vcpu = args[0] as Vcpu;
        return { vm: vcpu.vm, vcpu };
      };
    case "pmc":
      return (args) => {
        const { vcpu } = args[0] as Pmc;
        return { vm: vcpu.vm, vcpu };
      };
    case "vm":
      return (args) => ({ vm: args[0] as Vm, vcpu: undefined });
    default:
      return () => NOBODY;
  }
}

/** The narrowest scope that an interceptor of the op can have. */
export function narrowestScope(op: OpName): ScopeKind {
  switch (describeOp(op).args[0]) {
    case "vcpu":
    case "pmc":
      return "vcpu";
    case "vm":
      return "vm";
    default:
      return "core";
  }
}
