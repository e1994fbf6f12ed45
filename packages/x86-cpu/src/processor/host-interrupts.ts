import type { VirtualClock } from "../time/clock.js";

/** Vector of the host's local timer interrupt, as LOCAL_TIMER_VECTOR in Linux. */
export const HOST_TIMER_VECTOR = 0xef;

const VECTORS = 256;

/** Interrupts of the host at one processor: what is pending, and the local timer that raises one by itself. */
export class HostInterrupts {
  readonly #requested = new Uint8Array(VECTORS);
  #count = 0;
  nmiPending = false;
  /** TSC of the clock at which the local timer fires. */
  #timer: number | undefined;
  /** Deadline of the host's timers that was signalled already: a host that does not serve it must not livelock. */
  #signalled: number | undefined;

  /** @param nextTimer cycle of the clock at which the host's next software timer is due */
  constructor(
    private readonly clock: VirtualClock,
    private readonly nextTimer: () => number | undefined,
  ) {}

  raise(vector: number): void {
    if (!Number.isInteger(vector) || vector < 16 || vector >= VECTORS) {
      throw new RangeError(`host interrupt vector ${vector} is not in 16 to 255`);
    }
    if (this.#requested[vector] === 0) this.#count++;
    this.#requested[vector] = 1;
  }

  /** A maskable interrupt is pending, timers that are due included. */
  get pending(): boolean {
    this.#poll();
    return this.#count > 0;
  }

  /** Take the pending interrupt of the highest priority, which is the highest vector; -1 if there is none. */
  acknowledge(): number {
    this.#poll();
    if (this.#count === 0) return -1;
    const vector = this.#requested.lastIndexOf(1);
    this.#requested[vector] = 0;
    this.#count--;
    return vector;
  }

  /** Arm the one-shot local timer at a TSC value of the clock. */
  setTimer(cycles: number | undefined): void {
    this.#timer = cycles;
  }

  /** The next cycle at which an interrupt will be raised by itself. */
  deadline(): number | undefined {
    const software = this.nextTimer();
    const other = software === this.#signalled ? undefined : software;
    if (this.#timer === undefined) return other;
    return other === undefined ? this.#timer : Math.min(this.#timer, other);
  }

  #poll(): void {
    const now = this.clock.cycles();
    if (this.#timer !== undefined && now >= this.#timer) {
      this.#timer = undefined;
      this.raise(HOST_TIMER_VECTOR);
    }
    const software = this.nextTimer();
    if (software !== undefined && now >= software && software !== this.#signalled) {
      this.#signalled = software;
      this.raise(HOST_TIMER_VECTOR);
    }
  }
}
