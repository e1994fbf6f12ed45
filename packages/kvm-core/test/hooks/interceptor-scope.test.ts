import { describe, expect, it } from "vitest";
import { defineInterceptor } from "../../src/contract/index.js";
import { OpDispatch } from "../../src/dispatch/dispatch.js";
import { MAX_NESTED_DEPTH } from "../../src/hooks/owner.js";
import { idOf, setUp, thrownBy } from "../support/interception.js";
import { fakeVcpu, fakeVm, recordingOps, testClock } from "../support/recording-backend.js";

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
