import type { DeviceEnvironment, DeviceStop, TimerHandle } from "@tapvisor/kvm-core";

/** An environment whose time a test moves by hand. */
export function environment() {
  let now = 0;
  const armed = new Map<object, { deadline: number; fire: () => void }>();
  const stops: DeviceStop[] = [];
  let wakes = 0;
  const create = (_name: string, fire: () => void): TimerHandle => {
    const handle: TimerHandle = {
      get deadline() {
        return armed.get(handle)?.deadline;
      },
      arm: (deadline) => void armed.set(handle, { deadline, fire }),
      cancel: () => void armed.delete(handle),
    };
    return handle;
  };
  const parts = {
    clock: { now: () => now, cycles: () => now, tscKhz: 1_000_000, charge: () => {}, advanceTo: () => {} },
    timers: { create, next: () => undefined, runDue: () => 0 },
    requestStop: (stop: DeviceStop) => void stops.push(stop),
    requestWake: () => void wakes++,
  } satisfies DeviceEnvironment;
  return {
    environment: parts,
    stops,
    wakes: () => wakes,
    timers: () => armed.size,
    advance(ns: number) {
      const end = now + ns;
      for (;;) {
        const [next] = [...armed].sort(([, a], [, b]) => a.deadline - b.deadline);
        if (next === undefined || next[1].deadline > end) break;
        armed.delete(next[0]);
        now = Math.max(now, next[1].deadline);
        next[1].fire();
      }
      now = end;
    },
  };
}

/** A line that remembers its level. */
export function line() {
  const state = { level: false, set: (level: boolean) => void (state.level = level) };
  return state;
}
