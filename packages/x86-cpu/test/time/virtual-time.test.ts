import { describe, expect, it } from "vitest";
import { VirtualClock, VirtualTimers } from "../../src/index.js";

describe("virtual time", () => {
  it("refuses a frequency or a charge that makes no sense", () => {
    expect(() => new VirtualClock(0)).toThrow(/tscKhz 0/);
    expect(() => new VirtualClock().charge(-1)).toThrow(/-1 cycles/);
    expect(() => new VirtualClock().charge(Number.NaN)).toThrow(RangeError);
  });

  it("never goes back", () => {
    const clock = new VirtualClock();
    clock.charge(1000);
    clock.advanceTo(500);
    expect(clock.now()).toBe(1000);
    clock.advanceTo(2000);
    expect(clock.cycles()).toBe(2000);
  });

  it.each([1_000_000, 2_500_000, 3_333_333, 7])("reaches a deadline exactly at %i kHz, not a cycle before", (khz) => {
    const clock = new VirtualClock(khz);
    for (const ns of [1, 999, 1_000_000, 123_456_789, 9_007_199_254]) {
      const cycle = clock.toCycles(ns);
      expect(clock.toNs(cycle)).toBeGreaterThanOrEqual(ns);
      if (khz <= 1_000_000) expect(clock.toNs(cycle - 1)).toBeLessThan(ns);
    }
  });

  it("counts retired instructions apart from charges", () => {
    const clock = new VirtualClock();
    clock.retire(10);
    clock.charge(1500);
    expect([clock.instructions, clock.cycles()]).toEqual([10, 1510]);
  });
});

describe("timers", () => {
  const setup = (): { clock: VirtualClock; timers: VirtualTimers; log: string[] } => {
    const clock = new VirtualClock();
    return { clock, timers: new VirtualTimers(clock), log: [] };
  };

  it("refuses a deadline that is not a number", () => {
    const { timers } = setup();
    expect(() => timers.create("t", () => undefined).arm(Number.NaN)).toThrow(/timer t: deadline NaN/);
  });

  it("fire in the order of deadlines, equal ones in the order of arming", () => {
    const { clock, timers, log } = setup();
    const arm = (name: string, at: number): void => timers.create(name, () => log.push(name)).arm(at);
    arm("c", 30);
    arm("a", 10);
    arm("b1", 20);
    arm("b2", 20);
    expect(timers.next()).toBe(10);
    clock.charge(25);
    expect(timers.runDue()).toBe(3);
    expect(log).toEqual(["a", "b1", "b2"]);
    expect(timers.next()).toBe(30);
  });

  it("can be cancelled and armed anew, also by the one that fires", () => {
    const { clock, timers, log } = setup();
    const cancelled = timers.create("x", () => log.push("x"));
    cancelled.arm(5);
    const periodic = timers.create("p", () => {
      log.push("p");
      cancelled.cancel();
      periodic.arm(clock.now() + 10);
    });
    periodic.arm(5);
    periodic.arm(4);
    clock.charge(6);
    expect(timers.runDue()).toBe(1);
    expect(periodic.deadline).toBe(16);
    expect(cancelled.deadline).toBeUndefined();
  });

  it("with a period of nothing fire once a call, so the host goes on", () => {
    const { timers, log } = setup();
    const mistaken = timers.create("m", () => {
      log.push("m");
      mistaken.arm(0);
    });
    mistaken.arm(0);
    expect(timers.runDue()).toBe(1);
    expect(timers.runDue()).toBe(1);
    expect(log).toHaveLength(2);
  });
});
