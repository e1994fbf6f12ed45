import { describe, expect, expectTypeOf, it } from "vitest";
import { defineInterceptor, InterceptorError, KvmError } from "../../src/contract/index.js";
import type { MsrAccess, OpCall, OpCallBefore, Vcpu } from "../../src/contract/index.js";
import { OpDispatch } from "../../src/dispatch/dispatch.js";
import { MAX_NESTED_DEPTH } from "../../src/hooks/owner.js";
import { fakeVcpu, fakeVm, recordingOps, testClock, type RecordedCall } from "../support/recording-backend.js";

function setUp() {
  const calls: RecordedCall[] = [];
  const clock = testClock();
  const dispatch = new OpDispatch(clock);
  const backend = recordingOps(calls);
  dispatch.bind("recording", backend);
  const vm = fakeVm();
  const vcpu = fakeVcpu(vm);
  const msr: MsrAccess = { index: 0x10, data: 0n, hostInitiated: false };
  return { calls, clock, dispatch, ops: dispatch.coreCalls, vm, vcpu, msr, backend };
}

function thrownBy(run: () => unknown): unknown {
  try {
    run();
  } catch (error) {
    return error;
  }
  throw new Error("nothing was thrown");
}

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

describe("scope", () => {
  it("limits an interceptor to one VM or one vCPU", () => {
    const { dispatch, ops } = setUp();
    const [a, b] = [fakeVm(0), fakeVm(1)];
    const [a0, a1, b0] = [fakeVcpu(a, 0), fakeVcpu(a, 1), fakeVcpu(b, 0)];
    const seen: string[] = [];
    const watch = (name: string) =>
      defineInterceptor({ name, ops: { get_cpl: { observe: ({ vcpu }) => void seen.push(`${name} ${idOf(vcpu)}`) } } });
    dispatch.attach(watch("core"));
    dispatch.attach(watch("vm"), { vm: a });
    dispatch.attach(watch("vcpu"), { vcpu: a1 });
    for (const vcpu of [a0, a1, b0]) ops.get_cpl(vcpu);
    expect(seen).toEqual(["core 0/0", "vm 0/0", "core 0/1", "vm 0/1", "vcpu 0/1", "core 1/0"]);
  });

  it("reads the vCPU off a counter's argument, and the VM off a VM's", () => {
    const { dispatch, ops, vm, vcpu } = setUp();
    const seen: string[] = [];
    const watch = defineInterceptor({
      name: "watch",
      ops: {
        vcpu_create: { observe: ({ op }) => void seen.push(op) },
        "pmu_ops.pmc_is_enabled": { observe: ({ op }) => void seen.push(op) },
      },
    });
    dispatch.attach(watch, { vm });
    ops.vcpu_create(vm, 0);
    ops.vcpu_create(fakeVm(9), 0);
    ops.pmu_ops.pmc_is_enabled({ type: "gp", idx: 0, vcpu, counter: 0n, eventsel: 0n });
    expect(seen).toEqual(["vcpu_create", "pmu_ops.pmc_is_enabled"]);
  });

  it.each([
    ["hardware_setup", { vm: true }, "core"],
    ["get_tdp_level", { vcpu: true }, "core"],
    ["vcpu_create", { vcpu: true }, "vm"],
    ["pmu_ops.find_fixed_event", { vm: true }, "core"],
  ] as const)(
    "refuses %s with a scope that its arguments do not tell, and attaches nothing",
    (op, wanted, narrowest) => {
      const { dispatch, vm, vcpu } = setUp();
      const interceptor = defineInterceptor({
        name: "narrow",
        ops: { get_cpl: { before: () => undefined }, [op]: { before: () => undefined } },
      });
      const scope = "vm" in wanted ? { vm } : { vcpu };
      const error = thrownBy(() => dispatch.attach(interceptor, scope));
      // An op of a VM, such as vcpu_create, can be limited to it but not to a vCPU; get_cpl is not to blame.
      expect(error).toMatchObject({ code: "ERR_INTERCEPTOR_SCOPE", interceptor: "narrow" });
      expect(String(error)).toContain(`op ${op} cannot be limited`);
      expect(String(error)).toContain(`narrowest scope is ${narrowest}`);
      expect(dispatch.status("get_cpl").attached).toEqual([]);
    },
  );

  it("refuses a hook of the core with the scope of a VM", () => {
    const { dispatch, vm } = setUp();
    const interceptor = defineInterceptor({ name: "narrow", hooks: { timerFired: () => undefined } });
    expect(() => dispatch.attach(interceptor, { vm })).toThrow(/hook timerFired cannot be limited to one vm/);
  });
});

describe("nested calls", () => {
  it("are seen by others and not by the interceptor that makes them", () => {
    const { dispatch, ops, vcpu } = setUp();
    const seen: string[] = [];
    const nosy = (name: string, acts: boolean) =>
      defineInterceptor({
        name,
        ops: {
          get_cpl: {
            before: ({ depth }) => {
              seen.push(`${name} get_cpl ${String(depth)}`);
              if (acts) ops.get_rflags(vcpu);
            },
          },
          get_rflags: { before: ({ depth }) => void seen.push(`${name} get_rflags ${String(depth)}`) },
        },
      });
    dispatch.attach(nosy("actor", true));
    dispatch.attach(nosy("other", false));
    ops.get_cpl(vcpu);
    expect(seen).toEqual(["actor get_cpl 0", "other get_rflags 1", "other get_cpl 0"]);
  });

  it("of the backend below next are seen by the interceptor around it", () => {
    const dispatch = new OpDispatch(testClock());
    const backend = recordingOps([]);
    const vcpu = fakeVcpu(fakeVm());
    backend.handle_exit = (who) => {
      dispatch.backendCalls.skip_emulated_instruction(who);
      return true;
    };
    dispatch.bind("nesting", backend);
    const seen: string[] = [];
    dispatch.attach(
      defineInterceptor({
        name: "around",
        ops: {
          handle_exit: { around: (next, who) => next(who) },
          skip_emulated_instruction: { observe: ({ caller, depth }) => void seen.push(`${caller} ${String(depth)}`) },
        },
      }),
    );
    expect(dispatch.coreCalls.handle_exit(vcpu)).toBe(true);
    expect(seen).toEqual(["backend 0"]);
  });

  it("are heard to a bounded depth: beyond it they go straight to the backend", () => {
    const { calls, dispatch, ops, vcpu } = setUp();
    let deepest = 0;
    for (let i = 0; i < MAX_NESTED_DEPTH + 4; i++) {
      dispatch.attach(
        defineInterceptor({
          name: `level ${String(i)}`,
          ops: {
            get_cpl: {
              before: ({ depth }) => {
                deepest = Math.max(deepest, depth);
                if (calls.length < 1000) ops.get_cpl(vcpu);
              },
            },
          },
        }),
      );
    }
    expect(ops.get_cpl(vcpu)).toBe(0);
    expect(deepest).toBe(MAX_NESTED_DEPTH);
  });
});

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

describe("the definition of an interceptor", () => {
  it("names an unknown op, a likely one, and all there are", () => {
    const error = thrownBy(() =>
      defineInterceptor({ name: "typo", ops: { get_mrs: { before: () => undefined } } as object }),
    );
    expect(error).toMatchObject({ code: "ERR_UNKNOWN_OP", interceptor: "typo" });
    expect(String(error)).toMatch(
      /unknown op "get_mrs" \(did you mean get_msr.*\); there are: cpu_has_kvm_support, .*setup_mce/,
    );
    expect(String(error)).not.toContain("\n");
  });

  it("names an unknown hook, and all there are", () => {
    const error = thrownBy(() => defineInterceptor({ name: "typo", hooks: { vmCreate: () => undefined } as object }));
    expect(error).toMatchObject({ code: "ERR_UNKNOWN_HOOK" });
    expect(String(error)).toContain("did you mean vmCreated?");
  });

  it.each([
    [{ name: "" }, /name must be a string/],
    [{ name: "x", op: {} }, /the interceptor has no "op"; there are: name, stage, before, ops, hooks/],
    [
      { name: "x", ops: { get_cpl: { instead: () => 0 } } },
      /ops.get_cpl has no "instead"; there are: before, around, after, observe/,
    ],
    [{ name: "x", ops: { get_cpl: { before: 7 } } }, /ops.get_cpl.before must be a function, got number/],
    [{ name: "x", ops: { get_cpl: null } }, /ops.get_cpl must be an object/],
    [{ name: "x", ops: { get_cpl: { observe: { leave: () => 0 } } } }, /has no "leave"; there are: enter, exit/],
  ])("refuses %j", (definition, message) => {
    const error = thrownBy(() => defineInterceptor(definition as never));
    expect(error).toMatchObject({ code: "ERR_INTERCEPTOR_SHAPE" });
    expect(String(error)).toMatch(message);
  });

  it("is typed by the op: arguments, result, next", () => {
    defineInterceptor({
      name: "typed",
      ops: {
        get_msr: {
          before: (call) => {
            expectTypeOf(call.args).toEqualTypeOf<[vcpu: Vcpu, msr: MsrAccess]>();
            expectTypeOf(call.answer).parameter(0).toEqualTypeOf<boolean>();
          },
          around: (next, vcpu, msr) => {
            expectTypeOf(msr).toEqualTypeOf<MsrAccess>();
            expectTypeOf(next.opCall).toEqualTypeOf<OpCall<"get_msr">>();
            return next(vcpu, msr);
          },
        },
        // @ts-expect-error get_cpl answers with a number
        get_cpl: { around: () => true },
        set_rflags: {
          before: (call) => {
            // @ts-expect-error RFLAGS is a bigint
            call.args[1] = 2;
          },
        },
      },
    });
    // @ts-expect-error there is no such op
    expect(() => defineInterceptor({ name: "typed", ops: { get_mrs: {} } })).toThrow();
  });
});

describe("lifecycle hooks", () => {
  it("are one frozen record, with a handler for each", () => {
    const { dispatch } = setUp();
    expect(Object.isFrozen(dispatch.hooks)).toBe(true);
    expect(Object.isFrozen(dispatch.hooks.events)).toBe(true);
    expect(Object.isFrozen(dispatch.hooks.ops)).toBe(true);
  });

  it("call handlers in order with an event that they may change, in scope only, until detached", () => {
    const { dispatch, vm, vcpu } = setUp();
    const { exitToUser } = dispatch.hooks.events;
    expect(exitToUser.used).toBe(false);
    const attachment = dispatch.attach(
      defineInterceptor({
        name: "swap",
        hooks: {
          exitToUser: (event) => {
            event.exit = { reason: "shutdown" };
          },
        },
      }),
      { vcpu },
    );
    const fire = (who: Vcpu) => {
      const event = { vm: who.vm, vcpu: who, exit: { reason: "hlt" } as const };
      exitToUser.call(event);
      return event.exit.reason;
    };
    expect(fire(vcpu)).toBe("shutdown");
    expect(fire(fakeVcpu(vm, 7))).toBe("hlt");
    attachment.dispose();
    expect(fire(vcpu)).toBe("hlt");
    expect(exitToUser.used).toBe(false);
  });

  it("pass on a refusal in the hook's own name, and report mistakes under the interceptor's", () => {
    const { dispatch, vm } = setUp();
    const { vmCreated } = dispatch.hooks.events;
    const refusing = dispatch.attach(
      defineInterceptor({ name: "quota", hooks: { vmCreated: () => fail("EPERM", "vmCreated") } }),
    );
    expect(() => vmCreated.call({ vm })).toThrow(expect.objectContaining({ code: "EPERM" }));
    refusing.dispose();
    dispatch.attach(defineInterceptor({ name: "clumsy", hooks: { vmCreated: () => void JSON.parse("{") } }));
    expect(() => vmCreated.call({ vm })).toThrow(/interceptor "clumsy": hooks.vmCreated threw SyntaxError/);
  });
});

function fail(code: "ENOMEM" | "EFAULT" | "EPERM", syscall: string): never {
  throw new KvmError(code, syscall);
}

function idOf(vcpu: Vcpu | undefined): string {
  return vcpu === undefined ? "-" : `${String(vcpu.vm.id)}/${String(vcpu.id)}`;
}
