import type { HostClock } from "../host/index.js";
import { describeOp } from "../contract/index.js";
import type { OpCall, OpCallerKind, OpName, Vcpu, Vm } from "../contract/index.js";

type Phase = "enter" | "before" | "around" | "after" | "exit" | "done";

/** The arguments of any op: which ones, its signature says. */
export type AnyArgs = unknown[];
/** The function of any op. */
export type AnyOp = (...args: AnyArgs) => unknown;
type AnyOutcome = { readonly result: unknown; readonly error?: undefined } | { readonly error: unknown };

/** One call under way: what handlers get as `OpCall`, `OpCallBefore` and `OpCallAfter`. */
export class OpCallRecord {
  phase: Phase = "enter";
  outcome: AnyOutcome | undefined = undefined;
  answeredBy: string | undefined = undefined;
  /** The interceptor whose handler is running. */
  handlerOf = "";

  constructor(
    readonly op: OpName,
    readonly number: number,
    readonly vmNumber: number,
    readonly vm: Vm | undefined,
    readonly vcpu: Vcpu | undefined,
    readonly time: number,
    readonly caller: OpCallerKind,
    readonly depth: number,
    public args: AnyArgs,
    /** The backend's function. */
    readonly implementation: AnyOp,
    private readonly clock: HostClock,
  ) {}

  answer(result: unknown): void {
    this.#mayChange("answer");
    checkAnswer(this.op, result);
    this.outcome = { result };
    this.answeredBy = this.handlerOf;
  }

  fail(error: Error): void {
    this.#mayChange("fail");
    if (!(error instanceof Error)) throw new TypeError(`fail: expected an Error, got ${typeof error}`);
    this.outcome = { error };
    this.answeredBy = this.handlerOf;
  }

  delay(cycles: number): void {
    this.#mayChange("delay");
    if (!Number.isSafeInteger(cycles) || cycles < 0) {
      throw new RangeError(`delay: cycles must be an integer from 0, got ${String(cycles)}`);
    }
    this.clock.charge(cycles);
  }

  /** The same object in the shape that handlers know; its op is not known to the type here. */
  asOpCall(): OpCall {
    return this as unknown as OpCall;
  }

  #mayChange(what: string): void {
    if (this.phase !== "before" && this.phase !== "after") {
      throw new TypeError(`${what}: ${this.op} can be changed in before and after only, this is ${this.phase}`);
    }
  }
}

/** Refuse what the op cannot answer with: above all the undefined of an `around` that forgot to return. */
export function checkAnswer(op: OpName, answer: unknown): void {
  const { result: kind } = describeOp(op);
  if (kind === "void" || kind === "object") return;
  if (typeof kind === "string" ? typeof answer === kind : kind.some((text) => text === answer)) return;
  const expected = typeof kind === "string" ? `a ${kind}` : kind.join(" or ");
  throw new TypeError(`${op} answers with ${expected}, not with ${String(answer)}`);
}
