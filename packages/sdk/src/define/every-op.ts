import { OP_NAMES } from "@tapvisor/kvm-core/contract";
import type { OpCall, OpCallAfter, OpCallBefore, OpName } from "@tapvisor/kvm-core/contract";

/** Handlers that serve ops of any signature. */
export interface EveryOpHandlers {
  before?(call: OpCallBefore): void;
  after?(call: OpCallAfter): void;
  observe?: ((call: OpCall) => void) | { enter?(call: OpCall): void; exit?(call: OpCall): void };
}

/** The same handlers for every op of the contract, or for those that `which` picks: the `ops` of an interceptor. */
export function onEveryOp(
  handlers: EveryOpHandlers,
  which: (op: OpName) => boolean = () => true,
): { readonly [N in OpName]?: EveryOpHandlers } {
  return Object.fromEntries(OP_NAMES.filter(which).map((op) => [op, handlers]));
}
