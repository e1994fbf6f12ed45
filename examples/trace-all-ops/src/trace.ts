import { defineInterceptor, onEveryOp, type Interceptor, type OpCall } from "@tapvisor/sdk";

/**
 * Watches every op of the contract and tells each call as a line: its number among the calls of this op, virtual time,
 * who called, the op with its arguments, and the outcome.
 */
export function traceAllOps(tell: (line: string) => void): Interceptor {
  return defineInterceptor({
    name: "trace-all-ops",
    // After everybody else, so that what they answer is told too.
    stage: 1000,
    ops: onEveryOp({ observe: (call) => tell(lineOf(call)) }),
  });
}

function lineOf({ op, number, time, caller, vcpu, args, outcome }: OpCall): string {
  const who = vcpu === undefined ? caller : `${caller}, vcpu ${String(vcpu.id)}`;
  return `${String(time)} ns, ${who}: ${op}#${String(number)}(${args.map(textOf).join(", ")}) ${outcomeOf(outcome)}`;
}

function outcomeOf(outcome: OpCall["outcome"]): string {
  if (outcome === undefined) return "has no outcome";
  if (outcome.error !== undefined) return `threw ${String(outcome.error)}`;
  return outcome.result === undefined ? "done" : `= ${textOf(outcome.result)}`;
}

/** Scalars as they are; of an object what it is, as most have no end. */
function textOf(value: unknown): string {
  switch (typeof value) {
    case "bigint":
      return `0x${value.toString(16)}`;
    case "object":
      if (value === null) return "null";
      return "index" in value && "data" in value ? `msr 0x${Number(value.index).toString(16)}` : "{}";
    default:
      return String(value);
  }
}
