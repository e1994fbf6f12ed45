import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { defineInterceptor, describeOp, KvmError, OP_NAMES } from "../../src/contract/index.js";
import type { Interceptor, OpCall, OpCallerKind, OpHandlers, OpName, OpResult } from "../../src/contract/index.js";
import { OpDispatch } from "../../src/dispatch/dispatch.js";
import {
  argsFor,
  backendResult,
  callOp,
  fakeVcpu,
  fakeVm,
  otherResult,
  recordingOps,
  testClock,
  type RecordedCall,
} from "../support/recording-backend.js";

const KINDS = ["before", "around", "after", "observe"] as const;
const EFFECTS = ["pass", "fail", "alter", "skip"] as const;
type Kind = (typeof KINDS)[number];
type Effect = (typeof EFFECTS)[number];

function setUp() {
  const calls: RecordedCall[] = [];
  const clock = testClock();
  const dispatch = new OpDispatch(clock);
  dispatch.bind("recording", recordingOps(calls));
  const vcpu = fakeVcpu(fakeVm());
  return { calls, clock, dispatch, vcpu };
}

/** One interceptor of one op. Its arguments and results are of the op's own kind: only the type of the name is wide. */
function interceptorOf(op: OpName, handlers: OpHandlers<OpName>, more: Partial<Interceptor> = {}): Interceptor {
  return defineInterceptor({ name: `on ${op}`, ops: { [op]: handlers }, ...more });
}

function handlersFor(op: OpName, kind: Kind, effect: Effect, seen: OpCall[]): OpHandlers<OpName> {
  const failure = new KvmError("EIO", op);
  const other = otherResult(op) as OpResult<OpName>;
  const change = {
    pass: () => undefined,
    fail: (call: { fail(error: Error): void }) => call.fail(failure),
    alter: (call: { answer(result: OpResult<OpName>): void }) => call.answer(other),
    skip: (call: { answer(result: OpResult<OpName>): void }) => call.answer(other),
  }[effect];
  switch (kind) {
    case "before":
      return {
        before: (call) => {
          if (effect === "alter") call.args.fill("altered" as never);
          else change(call);
        },
      };
    case "around":
      return {
        around: (next, ...args) => {
          if (effect === "fail") throw failure;
          if (effect === "skip") return other;
          if (effect === "alter") return next(...(args.map(() => "altered") as unknown as typeof args));
          return next(...args);
        },
      };
    case "after":
      return { after: (call) => change(call) };
    case "observe":
      return { observe: (call) => void seen.push(call) };
  }
}

describe("every op of the contract", () => {
  it("takes every kind of interceptor, with fail, alter and skip, on every table", () => {
    fc.assert(
      fc.property(
        fc.constantFrom(...OP_NAMES),
        fc.constantFrom(...KINDS),
        fc.constantFrom(...EFFECTS),
        fc.constantFrom<OpCallerKind>("core", "backend"),
        (op, kind, effect, caller) => check(op, kind, effect, caller),
      ),
      { numRuns: 300, seed: 1 },
    );
  });

  // The property again without chance: all of them.
  it.each(OP_NAMES)("%s", (op) => {
    for (const kind of KINDS)
      for (const effect of EFFECTS) for (const caller of ["core", "backend"] as const) check(op, kind, effect, caller);
  });
});

function check(op: OpName, kind: Kind, effect: Effect, caller: OpCallerKind): void {
  const { calls, dispatch, vcpu } = setUp();
  const table = caller === "core" ? dispatch.coreCalls : dispatch.backendCalls;
  const args = argsFor(op, vcpu);
  const seen: OpCall[] = [];
  const outcomes: OpCall["outcome"][] = [];
  dispatch.attach(
    defineInterceptor({
      name: "witness",
      ops: { [op]: { observe: (call: OpCall) => void outcomes.push(call.outcome) } },
    }),
  );
  const attachment = dispatch.attach(interceptorOf(op, handlersFor(op, kind, effect, seen)));
  let result: unknown;
  let error: unknown;
  try {
    result = callOp(table, op, args);
  } catch (thrown) {
    error = thrown;
  }

  const what = `${op}, ${kind}, ${effect}`;
  if (kind === "observe" || effect === "pass") {
    expect(error, what).toBeUndefined();
    expect(result, what).toBe(backendResult(op));
    expect(calls, what).toEqual([{ op, args }]);
    if (kind === "observe") {
      expect(seen.map(({ op: name, number, vm, caller: who, depth }) => ({ name, number, vm, who, depth }))).toEqual([
        { name: op, number: 1, vm: expectedVm(op, vcpu.vm), who: caller, depth: 0 },
      ]);
    }
  } else if (effect === "fail") {
    expect(error, what).toMatchObject({ code: "EIO", syscall: op, errno: -5 });
    expect(calls, what).toHaveLength(kind === "after" ? 1 : 0);
  } else if (effect === "alter" && kind !== "after") {
    expect(error, what).toBeUndefined();
    expect(result, what).toBe(backendResult(op));
    expect(calls, what).toEqual([{ op, args: args.map(() => "altered") }]);
  } else {
    expect(error, what).toBeUndefined();
    expect(result, what).toBe(otherResult(op));
    expect(calls, what).toHaveLength(kind === "after" ? 1 : 0);
  }
  // Whoever watches sees what the caller gets.
  expect(outcomes).toEqual([error === undefined ? { result } : { error }]);

  // Detached, the call is the backend's alone again.
  attachment.dispose();
  calls.length = 0;
  expect(callOp(table, op, args)).toBe(backendResult(op));
  expect(calls).toEqual([{ op, args }]);
}

function expectedVm(op: OpName, vm: unknown): unknown {
  return ["vcpu", "vm", "pmc"].includes(describeOp(op).args[0] ?? "") ? vm : undefined;
}
