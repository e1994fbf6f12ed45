import { HOST_TIMER_VECTOR, type TimerHandle } from "../contract/index.js";
import type { KvmState } from "../state/kvm-state.js";

/** A timer of the host; a plugin that listens to `timerFired` may keep its owner from hearing of it. */
export function createHostTimer({ host, hooks }: KvmState, name: string, fire: () => void): TimerHandle {
  let deadline = 0;
  const handle = host.timers.create(name, () => {
    const event = { name, deadline, now: host.clock.now(), drop: false };
    hooks.timerFired.call(event);
    if (!event.drop) fire();
  });
  return {
    get deadline() {
      return handle.deadline;
    },
    arm: (ns) => {
      deadline = ns;
      handle.arm(ns);
    },
    cancel: () => handle.cancel(),
  };
}

/** Set the timer of processor `cpu` to the first of `cycles` and the next host timer. */
export function armTimer({ host, armedTimers }: KvmState, cpu: number, cycles: number): void {
  const next = host.timers.next();
  let deadline = cycles;
  if (next !== undefined) deadline = Math.min(deadline, Math.ceil((next * host.clock.tscKhz) / 1e6));
  const wanted = deadline === Infinity ? undefined : deadline;
  if (armedTimers[cpu] === wanted) return;
  armedTimers[cpu] = wanted;
  host.processors[cpu]?.setTimer(wanted);
}

export function disarmTimer({ host, armedTimers }: KvmState, cpu: number): void {
  if (armedTimers[cpu] === undefined) return;
  armedTimers[cpu] = undefined;
  host.processors[cpu]?.setTimer(undefined);
}

/** The host's interrupt handler, on the current processor. */
export function hostInterrupt({ host, armedTimers }: KvmState, vector: number): void {
  if (vector !== HOST_TIMER_VECTOR) return;
  // One-shot: it has to be set again, whatever it was set to.
  armedTimers[host.scheduler.current().id] = undefined;
  host.timers.runDue();
}

/** Take the interrupts that wait on the current processor, as it does when interrupts are turned on. */
export function takeInterrupts(kvm: KvmState): void {
  const { host } = kvm;
  const processor = host.scheduler.current();
  while (processor.interruptPending) {
    const vector = processor.acknowledgeInterrupt();
    if (vector < 0) return;
    hostInterrupt(kvm, vector);
  }
  const next = host.timers.next();
  if (next !== undefined && next <= host.clock.now()) host.timers.runDue();
}
