import { InterceptorError } from "./errors.js";
import { isLifecycleName, LIFECYCLE_NAMES, type LifecycleEvents, type LifecycleName } from "./lifecycle.js";
import type { OpCall, OpCallAfter, OpCallBefore, OpNext } from "./op-call.js";
import { isOpName, OP_NAMES, type OpArgs, type OpName, type OpResult } from "./op-types.js";
import type { Vcpu, Vm } from "./vm.js";

/**
 * What an interceptor does about one op. For a call, in this order: `before` of every interceptor until one answers;
 * then `around` of every interceptor, the first outermost, and the backend innermost; then every `after`. Observers
 * hear of the call before all that, and of its outcome after it.
 *
 * A handler fails the call by `fail`, or by throwing a `KvmError` whose `syscall` is the op. What else it throws, unless
 * it came out of `next`, is its mistake, and is reported as an `InterceptorError` under its name.
 */
export interface OpHandlers<N extends OpName> {
  /** See the arguments; change them, answer in the backend's place, or delay. */
  before?(call: OpCallBefore<N>): void;
  /** Stand around the backend's function: call `next` or not, with these arguments or others. */
  around?(next: OpNext<N>, ...args: OpArgs<N>): OpResult<N>;
  /** See the result or the error, and change either. */
  after?(call: OpCallAfter<N>): void;
  /** See all, change nothing. A function stands for `exit`. */
  observe?: OpObserver<N> | ((call: OpCall<N>) => void);
}

export interface OpObserver<N extends OpName> {
  /** With the arguments as the caller gave them. */
  enter?(call: OpCall<N>): void;
  /** With the outcome as the caller gets it. */
  exit?(call: OpCall<N>): void;
}

export type OpHandlerTable = { readonly [N in OpName]?: OpHandlers<N> };
export type LifecycleHandlerTable = { readonly [N in LifecycleName]?: (event: LifecycleEvents[N]) => void };

/** A plugin that watches, changes, fails or replaces what happens in a core: a plain object. */
export interface Interceptor {
  readonly name: string;
  /** Place among interceptors: lower stages first, 0 unless told; within one stage in order of attachment. */
  readonly stage?: number;
  /** Name of an interceptor that this one comes before. */
  readonly before?: string;
  readonly ops?: OpHandlerTable;
  readonly hooks?: LifecycleHandlerTable;
}

/** What an attachment is limited to. Without one it is for the whole core. */
export type InterceptorScope =
  { readonly vm: Vm; readonly vcpu?: undefined } | { readonly vcpu: Vcpu; readonly vm?: undefined };

/** An attachment; `dispose()` ends it, once. */
export interface Attachment {
  readonly interceptor: Interceptor;
  dispose(): void;
}

const MEMBERS = ["name", "stage", "before", "ops", "hooks"];
const PHASES = ["before", "around", "after", "observe"];

/** Define an interceptor. Names of ops and hooks, and the shape of the handlers, are checked here. */
export function defineInterceptor(interceptor: Interceptor): Interceptor {
  checkInterceptor(interceptor);
  return Object.freeze({ ...interceptor });
}

/** Throws an `InterceptorError` that names what is wrong, and lists what there is where a name is unknown. */
export function checkInterceptor(interceptor: Interceptor): void {
  const { name } = interceptor;
  if (typeof name !== "string" || name.trim() === "" || name !== name.trim()) {
    throw new InterceptorError(
      "ERR_INTERCEPTOR_SHAPE",
      String(name),
      "name must be a string, not empty, without spaces about it",
    );
  }
  checkMembers(name, "the interceptor", interceptor, MEMBERS);
  for (const [opName, handlers] of Object.entries(interceptor.ops ?? {})) {
    if (!isOpName(opName)) throw new InterceptorError("ERR_UNKNOWN_OP", name, unknownName("op", opName, OP_NAMES));
    if (typeof handlers !== "object" || handlers === null) {
      throw new InterceptorError("ERR_INTERCEPTOR_SHAPE", name, `ops.${opName} must be an object of handlers`);
    }
    checkMembers(name, `ops.${opName}`, handlers, PHASES);
    for (const [phase, handler] of Object.entries(handlers))
      checkHandler(name, `ops.${opName}.${phase}`, phase, handler);
  }
  for (const [hookName, handler] of Object.entries(interceptor.hooks ?? {})) {
    if (!isLifecycleName(hookName)) {
      throw new InterceptorError("ERR_UNKNOWN_HOOK", name, unknownName("hook", hookName, LIFECYCLE_NAMES));
    }
    checkHandler(name, `hooks.${hookName}`, "hook", handler);
  }
}

function checkMembers(name: string, where: string, value: object, known: readonly string[]): void {
  for (const member of Object.keys(value)) {
    if (!known.includes(member)) {
      throw new InterceptorError(
        "ERR_INTERCEPTOR_SHAPE",
        name,
        `${where} has no "${member}"; there are: ${known.join(", ")}`,
      );
    }
  }
}

function checkHandler(name: string, where: string, phase: string, handler: unknown): void {
  if (typeof handler === "function") return;
  if (phase === "observe" && typeof handler === "object" && handler !== null) {
    checkMembers(name, where, handler, ["enter", "exit"]);
    for (const [part, fn] of Object.entries(handler)) checkHandler(name, `${where}.${part}`, part, fn);
    return;
  }
  throw new InterceptorError("ERR_INTERCEPTOR_SHAPE", name, `${where} must be a function, got ${typeof handler}`);
}

/** One line for a name that is not there: the nearest ones first, then the whole list. */
export function unknownName(kind: string, name: string, known: readonly string[]): string {
  const near = known.filter((candidate) => editDistance(name, candidate) <= 3);
  const guess = near.length > 0 ? ` (did you mean ${near.join(" or ")}?)` : "";
  return `unknown ${kind} "${name}"${guess}; there are: ${known.join(", ")}`;
}

/** Levenshtein's. */
function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, i) => i);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const substitute = (row[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min((row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1, substitute));
    }
    row = next;
  }
  return row[b.length] ?? 0;
}
