import { describe, expect, it } from "vitest";
import { defineInterceptor, KvmError } from "../../src/contract/index.js";
import type { OpCallBefore } from "../../src/contract/index.js";
import { fail, setUp } from "../support/interception.js";
import { fakeVcpu, fakeVm } from "../support/recording-backend.js";

describe("one call", () => {
  it("goes through observers, before, around, backend, after, observers", () => {
    const { dispatch, ops, vcpu, msr } = setUp();
    const order: string[] = [];
    const all = (name: string) =>
      defineInterceptor({
        name,
        ops: {
          get_msr: {
            after: () => void order.push(`${name} after`),
            around: (next, ...args) => {
              order.push(`${name} in`);
              const result = next(...args);
              order.push(`${name} out`);
              return result;
            },
            before: () => void order.push(`${name} before`),
            observe: { enter: () => void order.push(`${name} enter`), exit: () => void order.push(`${name} exit`) },
          },
        },
      });
    dispatch.attach(all("a"));
    dispatch.attach(all("b"));
    ops.get_msr(vcpu, msr);
    expect(order).toEqual(
      ["a enter", "b enter", "a before", "b before", "a in", "b in", "b out", "a out", "a after", "b after", "a exit", "b exit"], // prettier-ignore
    );
  });

  it("follows stage and before", () => {
    const { dispatch, ops, vcpu } = setUp();
    const order: string[] = [];
    const at = (name: string, more: { stage?: number; before?: string } = {}) =>
      dispatch.attach(defineInterceptor({ name, ...more, ops: { get_cpl: { before: () => void order.push(name) } } }));
    at("late", { stage: 10 });
    at("first of 0");
    at("second of 0");
    at("early", { stage: -1 });
    at("inserted", { before: "second of 0" });
    ops.get_cpl(vcpu);
    expect(order).toEqual(["early", "first of 0", "inserted", "second of 0", "late"]);
  });

  it("follows before in every phase, also where the one that is named has a handler in each", () => {
    const { dispatch, ops, vcpu } = setUp();
    const order: string[] = [];
    const inEveryPhase = (name: string, more: { before?: string } = {}) =>
      dispatch.attach(
        defineInterceptor({
          name,
          ...more,
          ops: {
            get_cpl: {
              before: () => void order.push(`${name} before`),
              around: (next, who) => {
                order.push(`${name} around`);
                return next(who);
              },
              after: () => void order.push(`${name} after`),
            },
          },
        }),
      );
    inEveryPhase("second");
    inEveryPhase("first", { before: "second" });
    ops.get_cpl(vcpu);
    expect(order).toEqual(["before", "around", "after"].flatMap((phase) => [`first ${phase}`, `second ${phase}`]));
    expect(dispatch.status("get_cpl").attached).toEqual(["first", "second"]);
  });

  it("stops asking before handlers at the first answer, and skips around and the backend", () => {
    const { calls, dispatch, ops, vcpu, msr } = setUp();
    const order: string[] = [];
    dispatch.attach(
      defineInterceptor({
        name: "first",
        ops: {
          get_msr: {
            before: (call) => {
              order.push("first");
              call.answer(true);
            },
          },
        },
      }),
    );
    dispatch.attach(
      defineInterceptor({
        name: "second",
        ops: {
          get_msr: {
            before: () => void order.push("second"),
            around: () => {
              order.push("around");
              return false;
            },
            after: (call) => void order.push(`after ${String(call.outcome.result)} by ${String(call.answeredBy)}`),
          },
        },
      }),
    );
    expect(ops.get_msr(vcpu, msr)).toBe(true);
    expect(order).toEqual(["first", "after true by first"]);
    expect(calls).toEqual([]);
  });

  it("treats undefined as an answer: a void op is skipped, not passed on", () => {
    const { calls, dispatch, ops, vcpu } = setUp();
    dispatch.attach(
      defineInterceptor({ name: "skip", ops: { tlb_flush: { before: (call) => call.answer(undefined) } } }),
    );
    ops.tlb_flush(vcpu);
    expect(calls).toEqual([]);
  });

  it("lets after change an error into a result, and a result into an error", () => {
    const { dispatch, ops, vm } = setUp();
    const failing = dispatch.attach(
      defineInterceptor({
        name: "failing",
        stage: -1,
        ops: { set_tss_addr: { around: () => void fail("ENOMEM", "set_tss_addr") } },
      }),
    );
    dispatch.attach(
      defineInterceptor({
        name: "mending",
        ops: {
          set_tss_addr: {
            after: (call) => {
              if (call.outcome.error instanceof KvmError) call.answer(undefined);
              else call.fail(new KvmError("EINVAL", "set_tss_addr"));
            },
          },
        },
      }),
    );
    expect(() => ops.set_tss_addr(vm, 0)).not.toThrow();
    failing.dispose();
    expect(() => ops.set_tss_addr(vm, 0)).toThrow(expect.objectContaining({ code: "EINVAL" }));
  });

  it("lets around call next twice, or with other arguments", () => {
    const { calls, dispatch, ops, vcpu } = setUp();
    dispatch.attach(
      defineInterceptor({
        name: "twice",
        ops: {
          set_rflags: {
            around: (next, who, rflags) => {
              next(who, rflags);
              next(who, rflags | 1n);
            },
          },
        },
      }),
    );
    ops.set_rflags(vcpu, 2n);
    expect(calls.map((call) => call.args[1])).toEqual([2n, 3n]);
  });

  it("delays by virtual time", () => {
    const { clock, dispatch, ops, vcpu } = setUp();
    dispatch.attach(
      defineInterceptor({
        name: "slow",
        ops: { run: { before: (call) => call.delay(1500), after: (call) => call.delay(500) } },
      }),
    );
    ops.run(vcpu);
    expect(clock.cycles()).toBe(2000);
    dispatch.attach(defineInterceptor({ name: "wrong", ops: { run: { before: (call) => call.delay(-1) } } }));
    expect(() => ops.run(vcpu)).toThrow(/interceptor "wrong".*cycles must be an integer from 0/);
  });

  it("says which it is: op, numbers, VM, vCPU, time, caller, depth", () => {
    const { clock, dispatch, ops } = setUp();
    const [one, two] = [fakeVcpu(fakeVm(0), 0), fakeVcpu(fakeVm(1), 3)];
    const seen: unknown[] = [];
    dispatch.attach(
      defineInterceptor({
        name: "watch",
        ops: {
          get_cpl: {
            observe: ({ op, number, vmNumber, vm, vcpu, time, caller, depth }) =>
              void seen.push({ op, number, vmNumber, vm: vm?.id, vcpu: vcpu?.id, time, caller, depth }),
          },
        },
      }),
    );
    ops.get_cpl(one);
    clock.charge(100);
    dispatch.backendCalls.get_cpl(two);
    ops.get_cpl(one);
    const rest = { op: "get_cpl", depth: 0 };
    expect(seen).toEqual([
      { ...rest, number: 1, vmNumber: 1, vm: 0, vcpu: 0, time: 0, caller: "core" },
      { ...rest, number: 2, vmNumber: 1, vm: 1, vcpu: 3, time: 100, caller: "backend" },
      { ...rest, number: 3, vmNumber: 2, vm: 0, vcpu: 0, time: 100, caller: "core" },
    ]);
  });

  it("cannot be changed by an observer", () => {
    const { calls, dispatch, ops, vcpu } = setUp();
    dispatch.attach(
      defineInterceptor({
        name: "meddler",
        ops: {
          set_rflags: {
            observe: {
              enter: (call) => {
                (call.args as unknown as unknown[])[1] = 99n;
              },
            },
          },
        },
      }),
    );
    ops.set_rflags(vcpu, 2n);
    expect(calls).toEqual([{ op: "set_rflags", args: [vcpu, 2n] }]);
    dispatch.attach(
      defineInterceptor({
        name: "answerer",
        ops: { get_cpl: { observe: (call) => (call as OpCallBefore<"get_cpl">).answer(3) } },
      }),
    );
    expect(() => ops.get_cpl(vcpu)).toThrow(/interceptor "answerer".*can be changed in before and after only/);
  });
});
