import { InterceptorError, KvmError } from "../contract/index.js";
import type { InterceptorScope, OpName } from "../contract/index.js";
import { LiveHook, type TapOrder } from "./live-hook.js";
import { checkAnswer, type AnyArgs, type AnyOp, type OpCallRecord } from "./op-call-record.js";
import { inScope, type Owner } from "./owner.js";

type AnyHandler = (...args: never[]) => unknown;

/** One interceptor's handlers for an op, with what decides whether they run. */
interface Attached {
  readonly owner: Owner;
  readonly scope: InterceptorScope | undefined;
}

interface AttachedPhase extends Attached {
  readonly phase: "before" | "around" | "after";
  readonly handler: (this: void, ...args: unknown[]) => unknown;
}

interface AttachedObserver extends Attached {
  readonly enter: ((call: OpCallRecord) => void) | undefined;
  readonly exit: ((call: OpCallRecord) => void) | undefined;
}

/** The handlers of any op, without its signature. */
export interface AnyHandlers {
  readonly before?: AnyHandler;
  readonly around?: AnyHandler;
  readonly after?: AnyHandler;
  readonly observe?: AnyHandler | { readonly enter?: AnyHandler; readonly exit?: AnyHandler };
}

/** The hook of one op: before, around, after, observers, in the order that the contract fixes. */
export class OpHook extends LiveHook<OpCallRecord, unknown, AttachedPhase, AttachedObserver> {
  constructor(op: OpName) {
    super(op, compileOp);
  }

  /** Names of the interceptors, in the order in which they are heard. */
  attached(): string[] {
    return [...new Set([...this.taps, ...this.observers].map(({ owner }) => owner.name))];
  }

  /** Attach all handlers of one interceptor for this op; the result detaches them. */
  attach(order: TapOrder, owner: Owner, scope: InterceptorScope | undefined, handlers: AnyHandlers): () => void {
    const detach: (() => void)[] = [];
    for (const phase of ["before", "around", "after"] as const) {
      const handler = handlers[phase];
      if (handler !== undefined) {
        // The handlers' own `this` stays theirs: an interceptor may be an instance of a class.
        const bound = handler.bind(handlers) as (...args: unknown[]) => unknown;
        detach.push(this.tap(orderIn(phase, order), { owner, scope, phase, handler: bound }));
      }
    }
    const { observe } = handlers;
    if (observe !== undefined) {
      const parts = typeof observe === "function" ? { exit: observe } : observe;
      const bind = (handler: AnyHandler | undefined) =>
        handler?.bind(typeof observe === "function" ? handlers : observe) as ((call: OpCallRecord) => void) | undefined;
      detach.push(this.observe(order.name, { owner, scope, enter: bind(parts.enter), exit: bind(parts.exit) }));
    }
    return () => {
      for (const one of detach) one();
    };
  }
}

/**
 * A tap's place in its phase. tapable moves a tap before the one that it names, and an interceptor may have a tap in each
 * phase: so the phase is part of the name.
 */
function orderIn(phase: string, { name, stage, before }: TapOrder): TapOrder {
  return { name: `${phase} of ${name}`, stage, before: before === undefined ? undefined : `${phase} of ${before}` };
}

function hears(attached: Attached, call: OpCallRecord): boolean {
  return !attached.owner.busy && inScope(attached.scope, call.vm, call.vcpu);
}

function compileOp(
  taps: readonly AttachedPhase[],
  observers: readonly AttachedObserver[],
): (call: OpCallRecord) => unknown {
  const befores = taps.filter((tap) => tap.phase === "before");
  const arounds = taps.filter((tap) => tap.phase === "around");
  const afters = taps.filter((tap) => tap.phase === "after");
  const enters = observers.filter((observer) => observer.enter !== undefined);
  const exits = observers.filter((observer) => observer.exit !== undefined);

  return (call) => {
    // Who hears of this call is settled at its start, so that enter and exit come in pairs.
    const heardBy = exits.filter((observer) => hears(observer, call));
    try {
      if (enters.length > 0) tellEnter(enters, call);
      change("before", befores, call);
      if (call.outcome === undefined) call.outcome = perform(arounds, call);
      change("after", afters, call);
    } catch (error) {
      // Only mistakes of interceptors come here: whatever the op itself throws is its outcome.
      call.outcome = { error };
    }
    const { outcome } = call;
    if (heardBy.length > 0) tellExit(heardBy, call);
    call.phase = "done";
    if (outcome === undefined) throw new Error(`${call.op} ended without an outcome`);
    if ("result" in outcome) return outcome.result;
    throw outcome.error;
  };
}

/** Run the `before` handlers until one answers, or all `after` handlers. */
function change(phase: "before" | "after", taps: readonly AttachedPhase[], call: OpCallRecord): void {
  for (const tap of taps) {
    if (!hears(tap, call)) continue;
    call.phase = phase;
    call.handlerOf = tap.owner.name;
    try {
      tap.owner.run(
        `ops.${call.op}.${phase}`,
        (error) => isFailureOf(error, call),
        () => tap.handler(call),
      );
    } catch (error) {
      if (!isFailureOf(error, call)) throw error;
      call.outcome = { error };
      call.answeredBy = tap.owner.name;
    }
    if (phase === "before" && call.outcome !== undefined) return;
  }
}

/** The backend's function within the chain of `around` handlers. */
function perform(arounds: readonly AttachedPhase[], call: OpCallRecord): NonNullable<OpCallRecord["outcome"]> {
  call.phase = "around";
  try {
    const heard = arounds.filter((tap) => hears(tap, call));
    const { implementation } = call;
    return { result: heard.length === 0 ? implementation(...call.args) : chain(heard, 0, call)(...call.args) };
  } catch (error) {
    if (error instanceof InterceptorError) throw error;
    return { error };
  }
}

function chain(arounds: readonly AttachedPhase[], index: number, call: OpCallRecord): AnyOp {
  const tap = arounds[index];
  if (tap === undefined) return call.implementation;
  const rest = chain(arounds, index + 1, call);
  const { owner } = tap;
  return (...args: AnyArgs) => {
    const thrown = new Set<unknown>();
    let running = true;
    const next = Object.assign(
      (...nextArgs: AnyArgs): unknown => {
        if (!running) throw new TypeError(`next of ${call.op} was called after the call had ended`);
        return owner.leave(() => {
          try {
            return rest(...nextArgs);
          } catch (error) {
            thrown.add(error);
            throw error;
          }
        });
      },
      { opCall: call },
    );
    try {
      return owner.run(
        `ops.${call.op}.around`,
        (error) => thrown.has(error) || isFailureOf(error, call),
        () => {
          const answer = tap.handler(next, ...args);
          checkAnswer(call.op, answer);
          return answer;
        },
      );
    } finally {
      running = false;
    }
  };
}

/** A failure in the op's own name: an answer by throwing, unlike what an interceptor throws by mistake. */
function isFailureOf(error: unknown, call: OpCallRecord): boolean {
  return error instanceof KvmError && error.syscall === call.op;
}

function tellEnter(observers: readonly AttachedObserver[], call: OpCallRecord): void {
  const { args } = call;
  for (const observer of observers) {
    if (!hears(observer, call)) continue;
    // A copy: whatever an observer does with it, the call goes on with its own.
    call.args = args.slice();
    try {
      observer.owner.run(`ops.${call.op}.observe.enter`, never, () => observer.enter?.(call));
    } finally {
      call.args = args;
    }
  }
}

function tellExit(observers: readonly AttachedObserver[], call: OpCallRecord): void {
  call.phase = "exit";
  const { outcome } = call;
  for (const observer of observers) {
    observer.owner.run(`ops.${call.op}.observe.exit`, never, () => observer.exit?.(call));
    call.outcome = outcome;
  }
}

function never(): boolean {
  return false;
}
