import { describe, expect, it } from "vitest";
import { OP_NAMES, type OpCall } from "@tapvisor/kvm-core/contract";
import { defineInterceptor, onEveryOp } from "../../src/index.js";

describe("onEveryOp", () => {
  it("gives every op the same handlers, in the shape that an interceptor takes", () => {
    const seen: OpCall[] = [];
    const handlers = { observe: (call: OpCall) => void seen.push(call) };
    const tracer = defineInterceptor({ name: "tracer", ops: onEveryOp(handlers) });
    expect(Object.keys(tracer.ops ?? {})).toEqual(OP_NAMES);
    expect(new Set(Object.values(tracer.ops ?? {}))).toEqual(new Set([handlers]));
  });

  it("picks ops", () => {
    expect(Object.keys(onEveryOp({}, (op) => op.endsWith("get_msr")))).toEqual(["get_msr", "pmu_ops.get_msr"]);
  });
});
