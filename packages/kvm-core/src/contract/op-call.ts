import type { OpArgs, OpName, OpResult } from "./op-types.js";
import type { Vcpu, Vm } from "./vm.js";

/** Who called: the generic layer, or the backend itself. */
export type OpCallerKind = "core" | "backend";

/** How a call ended. */
export type OpOutcome<N extends OpName> =
  | { readonly result: OpResult<N>; readonly error?: undefined }
  | { readonly error: unknown; readonly result?: undefined };

/** One call of an op, as observers see it. */
export interface OpCall<N extends OpName = OpName> {
  readonly op: N;
  /** Running number among the calls of this op that were seen since somebody first watched it, from 1. */
  readonly number: number;
  /** The same among those for this VM, from 1; 0 where the call is for no VM. */
  readonly vmNumber: number;
  readonly vm: Vm | undefined;
  readonly vcpu: Vcpu | undefined;
  /** Virtual time at the call, in ns of the host's clock. */
  readonly time: number;
  readonly caller: OpCallerKind;
  /** Handlers of interceptors that the call was made from, directly or not: 0 for a call of the core's or backend's own accord. */
  readonly depth: number;
  readonly args: Readonly<OpArgs<N>>;
  /** Undefined until the op, or an interceptor in its place, has answered. */
  readonly outcome: OpOutcome<N> | undefined;
  /** Name of the interceptor that gave the outcome in the backend's place, or changed it. */
  readonly answeredBy: string | undefined;
}

/** What `before` and `after` can do about a call. */
export interface OpCallControl<N extends OpName> {
  /** Give the result: in the backend's place, or in place of the outcome. */
  answer(result: OpResult<N>): void;
  /** Have the call throw: in the backend's place, or in place of the outcome. */
  fail(error: Error): void;
  /** Let virtual time go by, in cycles of the TSC. */
  delay(cycles: number): void;
}

/** A call before it reaches the backend: elements of `args` may be set. */
export interface OpCallBefore<N extends OpName = OpName> extends Omit<OpCall<N>, "args">, OpCallControl<N> {
  readonly args: OpArgs<N>;
}

/** A call after the backend, or an interceptor in its place, has answered. */
export interface OpCallAfter<N extends OpName = OpName> extends Omit<OpCall<N>, "outcome">, OpCallControl<N> {
  readonly outcome: OpOutcome<N>;
}

/** The rest of the chain: the interceptors further in, then the backend. It may be called any number of times. */
export interface OpNext<N extends OpName = OpName> {
  (...args: OpArgs<N>): OpResult<N>;
  readonly opCall: OpCall<N>;
}
