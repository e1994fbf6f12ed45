import { describe, expect, it } from "vitest";
import { defineInterceptor } from "../../src/contract/index.js";
import { OpDispatch } from "../../src/dispatch/dispatch.js";
import { setUp } from "../support/interception.js";
import { fakeVcpu, fakeVm, recordingOps, testClock } from "../support/recording-backend.js";

describe("attaching and detaching", () => {
  it("binds the backend's own function while nobody listens", () => {
    const { dispatch, ops, backend } = setUp();
    expect(ops.get_cpl).toBe(backend.get_cpl);
    const attachment = dispatch.attach(
      defineInterceptor({ name: "watch", ops: { get_cpl: { before: () => undefined } } }),
    );
    expect(ops.get_cpl).not.toBe(backend.get_cpl);
    expect(ops.get_rflags).toBe(backend.get_rflags);
    attachment.dispose();
    expect(ops.get_cpl).toBe(backend.get_cpl);
    expect(dispatch.backendCalls.get_cpl).toBe(backend.get_cpl);
  });

  it("takes effect at the next call, from inside a call too", () => {
    const { calls, dispatch, ops, vcpu } = setUp();
    const seen: string[] = [];
    const second = defineInterceptor({ name: "second", ops: { get_cpl: { before: () => void seen.push("second") } } });
    const first = dispatch.attach(
      defineInterceptor({
        name: "first",
        ops: {
          get_cpl: {
            before: () => {
              seen.push("first");
              first.dispose();
              dispatch.attach(second);
            },
          },
        },
      }),
    );
    ops.get_cpl(vcpu);
    ops.get_cpl(vcpu);
    expect(seen).toEqual(["first", "second"]);
    expect(calls).toHaveLength(2);
  });

  it("leaves the others' order as it was, and disposes once", () => {
    const { dispatch, ops, vcpu } = setUp();
    const seen: string[] = [];
    const [a, b, c] = ["a", "b", "c"].map((name) =>
      dispatch.attach(defineInterceptor({ name, ops: { get_cpl: { before: () => void seen.push(name) } } })),
    );
    b?.dispose();
    b?.dispose();
    ops.get_cpl(vcpu);
    expect(seen).toEqual(["a", "c"]);
    expect(dispatch.status("get_cpl")).toEqual({ binding: "bound", attached: ["a", "c"] });
    a?.dispose();
    c?.dispose();
    expect(dispatch.status("get_cpl").attached).toEqual([]);
  });

  it("keeps an absent op absent, whoever listens", () => {
    const dispatch = new OpDispatch(testClock());
    dispatch.attach(defineInterceptor({ name: "hopeful", ops: { update_cr8_intercept: { before: () => undefined } } }));
    dispatch.bind("small", recordingOps([], ["update_cr8_intercept", "pre_block"]));
    expect(dispatch.coreCalls.update_cr8_intercept).toBeUndefined();
    expect(dispatch.status("update_cr8_intercept")).toEqual({ binding: "absent", attached: ["hopeful"] });
  });

  it("hears a call of an absent op that has a default", () => {
    const dispatch = new OpDispatch(testClock());
    dispatch.bind("small", recordingOps([], ["pre_block"]));
    const vcpu = fakeVcpu(fakeVm());
    expect(dispatch.coreCalls.pre_block(vcpu)).toBe(false);
    dispatch.attach(
      defineInterceptor({ name: "keep awake", ops: { pre_block: { after: (call) => call.answer(true) } } }),
    );
    expect(dispatch.coreCalls.pre_block(vcpu)).toBe(true);
  });

  it("works before a backend is there", () => {
    const dispatch = new OpDispatch(testClock());
    const seen: string[] = [];
    dispatch.attach(
      defineInterceptor({ name: "early", ops: { hardware_setup: { observe: ({ op }) => void seen.push(op) } } }),
    );
    dispatch.bind("recording", recordingOps([]));
    dispatch.coreCalls.hardware_setup();
    expect(seen).toEqual(["hardware_setup"]);
  });
});
