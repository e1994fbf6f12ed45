import { describe, expect, it } from "vitest";
import { SKYLAKE_SERVER, SerialScheduler, createHost } from "../../src/index.js";

describe("the scheduler", () => {
  it("refuses a processor that does not exist", () => {
    const scheduler = new SerialScheduler(["a"], 1);
    expect(() => scheduler.runOn(1, () => undefined)).toThrow(/processor 1 does not exist; there are 1/);
  });

  it("comes back to the processor that it left, also after a failure", () => {
    const scheduler = new SerialScheduler(["a", "b", "c"], 1);
    const seen = scheduler.runOn(1, () => [scheduler.current(), scheduler.runOn(2, () => scheduler.current())]);
    expect(seen).toEqual(["b", "c"]);
    expect(() =>
      scheduler.runOn(2, () => {
        throw new Error("work");
      }),
    ).toThrow("work");
    expect(scheduler.current()).toBe("a");
  });
});

describe("a host", () => {
  it("refuses RAM that cannot be", () => {
    expect(() => createHost({ profile: SKYLAKE_SERVER, ramBytes: 1000 })).toThrow(/ramBytes: 1000/);
    expect(() => createHost({ profile: SKYLAKE_SERVER, ramBytes: 1 << 20, processors: 0 })).toThrow(/processors: 0/);
  });

  it("gives each processor its number, its APIC ID, and one time", () => {
    const host = createHost({ profile: SKYLAKE_SERVER, ramBytes: 1 << 20, processors: 3 });
    expect(host.processors.map((cpu) => cpu.cpuid(1, 0).ebx >>> 24)).toEqual([0, 1, 2]);
    expect(host.processors.map((cpu) => cpu.cpuid(0xb, 0).edx)).toEqual([0, 1, 2]);
    host.clock.charge(77);
    expect(host.processors.map((cpu) => cpu.tsc())).toEqual([77, 77, 77]);
  });
});
