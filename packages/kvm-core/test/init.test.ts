import { describe, expect, it } from "vitest";
import { defineArchBackend, defineInterceptor, KvmError } from "../src/contract/index.js";
import type { ArchBackend, KvmX86Ops, OpName } from "../src/contract/index.js";
import { KvmCore } from "../src/core.js";
import { kvmExit, kvmInit, type GenericLayer } from "../src/init.js";
import { recordingOps, type RecordedCall } from "./support/recording-backend.js";
import { recordingHost } from "./support/recording-host.js";

function setUp(change: (ops: KvmX86Ops) => void = () => undefined) {
  const steps: string[] = [];
  const calls: RecordedCall[] = [];
  const record = (ops: KvmX86Ops) => {
    const top = ops as unknown as Record<string, unknown>;
    const answer = (name: OpName, value: unknown) => {
      top[name] = () => {
        steps.push(name);
        return value;
      };
    };
    answer("cpu_has_kvm_support", true);
    answer("disabled_by_bios", false);
    answer("hardware_setup", undefined);
    answer("hardware_unsetup", undefined);
    answer("check_processor_compatibility", true);
  };
  const layer: GenericLayer = {
    exports: {} as GenericLayer["exports"],
    archInit: () => void steps.push("archInit"),
    archExit: () => void steps.push("archExit"),
    hardwareSetup: () => void steps.push("msr list"),
  };
  const backend: ArchBackend = defineArchBackend({
    name: "recording",
    vendor: "GenuineIntel",
    create: () => {
      const ops = recordingOps(calls);
      record(ops);
      change(ops);
      return { ops };
    },
  });
  const visited: number[] = [];
  const core = new KvmCore(recordingHost(2, visited));
  return { core, backend, layer, steps, visited };
}

describe("kvmInit", () => {
  it("probes, sets up, and checks every processor on that processor", () => {
    const { core, backend, layer, steps, visited } = setUp();
    kvmInit(core, backend, layer);
    expect(steps).toEqual([
      "cpu_has_kvm_support",
      "disabled_by_bios",
      "archInit",
      "hardware_setup",
      "msr list",
      "check_processor_compatibility",
      "check_processor_compatibility",
    ]);
    expect(visited).toEqual([0, 1]);
    expect(core.backend).toBe(backend);
  });

  it("refuses a second backend with EEXIST and keeps the first", () => {
    const { core, backend, layer } = setUp();
    kvmInit(core, backend, layer);
    expect(() => kvmInit(core, setUp().backend, layer)).toThrow(
      expect.objectContaining({ code: "EEXIST", errno: -17, syscall: "kvm_init" }),
    );
    expect(core.backend).toBe(backend);
    expect(core.ops.cpu_has_kvm_support()).toBe(true);
  });

  it.each([
    ["cpu_has_kvm_support", false, ["cpu_has_kvm_support"]],
    ["disabled_by_bios", true, ["cpu_has_kvm_support", "disabled_by_bios"]],
  ] as const)("answers EOPNOTSUPP after %s with nothing set up", (op, answer, expected) => {
    const test = setUp();
    const { core, backend, layer, steps } = test;
    core.attach(
      defineInterceptor({
        name: "deny",
        ops: { [op]: { after: (call: { answer(v: boolean): void }) => call.answer(answer) } },
      }),
    );
    expect(() => kvmInit(core, backend, layer)).toThrow(expect.objectContaining({ code: "EOPNOTSUPP", errno: -95 }));
    expect(steps).toEqual(expected);
    expect(core.backend).toBeUndefined();
    expect(core.dispatch.isBound).toBe(false);
  });

  it("passes on what hardware_setup throws, without hardware_unsetup", () => {
    const { core, backend, layer, steps } = setUp((ops) => {
      ops.hardware_setup = () => {
        throw new KvmError("ENOMEM", "hardware_setup");
      };
    });
    expect(() => kvmInit(core, backend, layer)).toThrow(
      expect.objectContaining({ code: "ENOMEM", syscall: "hardware_setup" }),
    );
    expect(steps).toEqual(["cpu_has_kvm_support", "disabled_by_bios", "archInit", "archExit"]);
    expect(core.dispatch.isBound).toBe(false);
  });

  it("answers EIO where a processor differs, and undoes each step in reverse", () => {
    let asked = 0;
    const { core, backend, layer, steps } = setUp((ops) => {
      ops.check_processor_compatibility = () => ++asked !== 2;
    });
    expect(() => kvmInit(core, backend, layer)).toThrow(expect.objectContaining({ code: "EIO" }));
    expect(steps.slice(2)).toEqual(["archInit", "hardware_setup", "msr list", "hardware_unsetup", "archExit"]);
    expect(core.dispatch.isBound).toBe(false);
    expect(core.backend).toBeUndefined();
  });

  it("goes on undoing when a step of the roll-back fails, and reports both", () => {
    const { core, backend, layer, steps } = setUp((ops) => {
      ops.check_processor_compatibility = () => false;
      ops.hardware_unsetup = () => {
        throw new KvmError("EIO", "hardware_unsetup");
      };
    });
    expect(() => kvmInit(core, backend, layer)).toThrow(AggregateError);
    expect(steps.at(-1)).toBe("archExit");
    expect(core.dispatch.isBound).toBe(false);
  });

  it("can be tried again after a refusal, and after kvmExit", () => {
    let supported = false;
    const { core, backend, layer, steps } = setUp((ops) => {
      ops.cpu_has_kvm_support = () => supported;
    });
    expect(() => kvmInit(core, backend, layer)).toThrow(KvmError);
    supported = true;
    kvmInit(core, backend, layer);
    steps.length = 0;
    kvmExit(core, layer);
    expect(steps).toEqual(["hardware_unsetup", "archExit"]);
    expect(core.backend).toBeUndefined();
    expect(() => kvmExit(core, layer)).toThrow(expect.objectContaining({ code: "ENODEV" }));
    kvmInit(core, backend, layer);
    expect(core.backend).toBe(backend);
  });

  it("takes out what hardware_setup took out, and freezes the rest", () => {
    let given: KvmX86Ops | undefined;
    const { core, backend, layer } = setUp((ops) => {
      given = ops;
      ops.hardware_setup = () => {
        ops.update_cr8_intercept = undefined;
        delete ops.pre_block;
      };
    });
    kvmInit(core, backend, layer);
    expect(core.ops.update_cr8_intercept).toBeUndefined();
    expect(core.dispatch.status("update_cr8_intercept").binding).toBe("absent");
    // Absent with a default: callers need not ask.
    expect(core.ops.pre_block({ vm: {} } as never)).toBe(false);
    if (given !== undefined) given.get_tdp_level = () => 5;
    expect(core.ops.get_tdp_level()).toBe(0);
  });

  it("refuses a backend that lacks ops, has unknown ones, or what is no function, and names them", () => {
    const refusal = (change: (ops: KvmX86Ops) => void) => {
      const { core, backend, layer } = setUp(change);
      try {
        kvmInit(core, backend, layer);
      } catch (error) {
        expect(core.dispatch.isBound).toBe(false);
        return error;
      }
      return undefined;
    };
    const lacking = refusal((ops) => {
      Reflect.deleteProperty(ops, "get_msr");
      Reflect.deleteProperty(ops.pmu_ops, "init");
    });
    expect(lacking).toMatchObject({ code: "EINVAL" });
    expect(String(lacking)).toContain("lacks get_msr, pmu_ops.init");
    expect(String(refusal((ops) => Object.assign(ops, { get_mrs: () => true })))).toContain(
      "the contract has no get_mrs",
    );
    expect(String(refusal((ops) => Object.assign(ops, { run: 7 })))).toContain("run must be a function, got number");
  });

  it("refuses a backend that loses an op in hardware_setup that callers do not ask for", () => {
    const { core, backend, layer } = setUp((ops) => {
      ops.hardware_setup = () => void Reflect.deleteProperty(ops, "get_msr");
    });
    expect(() => kvmInit(core, backend, layer)).toThrow(/lacks get_msr/);
    expect(core.dispatch.isBound).toBe(false);
  });
});
