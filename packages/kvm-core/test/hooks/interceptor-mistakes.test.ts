import { describe, expect, it } from "vitest";
import { defineInterceptor, InterceptorError } from "../../src/contract/index.js";
import type { OpCallBefore, Vcpu } from "../../src/contract/index.js";
import { OpDispatch } from "../../src/dispatch/dispatch.js";
import { fail, setUp, thrownBy } from "../support/interception.js";
import { recordingOps, testClock } from "../support/recording-backend.js";

describe("an interceptor's mistake", () => {
  const phases = ["before", "around", "after", "enter", "exit"] as const;

  it.each(phases)("in %s is reported under its own name, with its cause", (phase) => {
    const { dispatch, ops, vcpu } = setUp();
    const mistake = new TypeError("cannot read properties of undefined");
    const wrong = (): never => {
      throw mistake;
    };
    const handlers = phase === "enter" || phase === "exit" ? { observe: { [phase]: wrong } } : { [phase]: wrong };
    const attachment = dispatch.attach(defineInterceptor({ name: "clumsy", ops: { get_cpl: handlers } }));
    const error = thrownBy(() => ops.get_cpl(vcpu));
    expect(error).toBeInstanceOf(InterceptorError);
    expect(error).toMatchObject({ code: "ERR_INTERCEPTOR_THREW", interceptor: "clumsy", cause: mistake });
    expect(String(error)).toContain("get_cpl");
    // And nothing is left behind.
    attachment.dispose();
    expect(ops.get_cpl(vcpu)).toBe(0);
  });

  it.each([
    ["a before that answers with another type", { before: (call: OpCallBefore) => call.answer("yes" as never) }],
    ["an around that forgets to return", { around: (next: (vcpu: Vcpu) => unknown, vcpu: Vcpu) => void next(vcpu) }],
  ])("is %s", (_, handlers) => {
    const { dispatch, ops, vcpu } = setUp();
    dispatch.attach(defineInterceptor({ name: "sloppy", ops: { interrupt_allowed: handlers as object } }));
    expect(() => ops.interrupt_allowed(vcpu)).toThrow(
      /interceptor "sloppy".*interrupt_allowed answers with a boolean, not with (yes|undefined)/,
    );
  });

  it("is an answer that is none of the words of the op", () => {
    const { dispatch, ops, vcpu } = setUp();
    const answer = (word: string) =>
      dispatch.attach(
        defineInterceptor({ name: "word", ops: { check_intercept: { after: (call) => call.answer(word as never) } } }),
      );
    const right = answer("intercepted");
    expect(ops.check_intercept(vcpu, {} as never, "pre-exception")).toBe("intercepted");
    right.dispose();
    answer("perhaps");
    expect(() => ops.check_intercept(vcpu, {} as never, "pre-exception")).toThrow(
      /continue or intercepted, not with perhaps/,
    );
  });

  it("is to be asynchronous", () => {
    const { dispatch, ops, vcpu } = setUp();
    dispatch.attach(
      defineInterceptor({
        name: "patient",
        ops: { tlb_flush: { before: async () => Promise.reject(new Error("late")) } },
      }),
    );
    expect(() => ops.tlb_flush(vcpu)).toThrow(/interceptor "patient".*handlers are synchronous/);
  });

  it("is told from a failure of the host that it ran into: that is not the op's", () => {
    const { dispatch, ops, vcpu } = setUp();
    dispatch.attach(
      defineInterceptor({ name: "reader", ops: { get_cpl: { before: () => fail("EFAULT", "readGuest") } } }),
    );
    expect(thrownBy(() => ops.get_cpl(vcpu))).toMatchObject({
      code: "ERR_INTERCEPTOR_THREW",
      interceptor: "reader",
      cause: { code: "EFAULT" },
    });
  });

  it("is told from an error of the backend that comes through it", () => {
    const { vcpu } = setUp();
    const broken = new RangeError("the backend's own");
    const fresh = new OpDispatch(testClock());
    const backend = recordingOps([]);
    backend.get_cpl = () => {
      throw broken;
    };
    fresh.bind("broken", backend);
    fresh.attach(defineInterceptor({ name: "innocent", ops: { get_cpl: { around: (next, who) => next(who) } } }));
    expect(thrownBy(() => fresh.coreCalls.get_cpl(vcpu))).toBe(broken);
  });

  it("does not run the after handlers of others, and is told to the observers", () => {
    const { dispatch, ops, vcpu } = setUp();
    const seen: unknown[] = [];
    dispatch.attach(
      defineInterceptor({
        name: "other",
        ops: {
          get_cpl: { after: () => void seen.push("after"), observe: ({ outcome }) => void seen.push(outcome?.error) },
        },
      }),
    );
    dispatch.attach(defineInterceptor({ name: "clumsy", ops: { get_cpl: { before: () => void JSON.parse("{") } } }));
    const error = thrownBy(() => ops.get_cpl(vcpu));
    expect(seen).toEqual([error]);
  });

  it("is to call next after the call has ended", () => {
    const { dispatch, ops, vcpu } = setUp();
    let kept: (() => void) | undefined;
    dispatch.attach(
      defineInterceptor({
        name: "keeper",
        ops: {
          get_cpl: {
            around: (next, who) => {
              kept = () => next(who);
              return 0;
            },
          },
        },
      }),
    );
    ops.get_cpl(vcpu);
    expect(kept).toThrow(/after the call had ended/);
  });
});
