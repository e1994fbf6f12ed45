/**
 * Frequency of the invariant TSC in kHz: one cycle is one nanosecond, so that cycles and nanoseconds convert without
 * rounding and a deadline in either is the same instant.
 */
export const TSC_KHZ = 1_000_000;

const NS_PER_MS = 1_000_000;

/**
 * Virtual time of one host: the count of retired instructions, one cycle each, plus what is charged.
 *
 * All processors share it. They run one after another on one thread, so a cycle that one of them spends has passed for
 * all, and their time-stamp counters never disagree.
 */
export class VirtualClock {
  readonly tscKhz: number;
  #cycles = 0;
  #instructions = 0;

  /** @param tscKhz frequency of the TSC in kHz */
  constructor(tscKhz: number = TSC_KHZ) {
    if (!Number.isSafeInteger(tscKhz) || tscKhz <= 0)
      throw new RangeError(`tscKhz ${tscKhz} is not a positive integer`);
    this.tscKhz = tscKhz;
  }

  /** Cycles of the invariant TSC since the host started. */
  cycles(): number {
    return this.#cycles;
  }

  /** Nanoseconds since the host started, rounded down. */
  now(): number {
    return this.toNs(this.cycles());
  }

  /** Let `cycles` go by. */
  charge(cycles: number): void {
    if (!(cycles >= 0)) throw new RangeError(`cannot charge ${cycles} cycles`);
    this.#cycles += Math.floor(cycles);
  }

  /** Guest instructions that all processors have retired. */
  get instructions(): number {
    return this.#instructions;
  }

  /** `count` guest instructions have retired, a cycle each. */
  retire(count: number): void {
    this.#instructions += count;
    this.charge(count);
  }

  /** Jump to a time in ns; one in the past changes nothing. */
  advanceTo(ns: number): void {
    const target = this.toCycles(ns);
    if (target > this.#cycles) this.#cycles = target;
  }

  /** The first cycle at which `ns` has been reached. */
  toCycles(ns: number): number {
    if (this.tscKhz === NS_PER_MS) return Math.ceil(ns);
    const ms = Math.floor(ns / NS_PER_MS);
    return ms * this.tscKhz + Math.ceil(((ns - ms * NS_PER_MS) * this.tscKhz) / NS_PER_MS);
  }

  /** Nanoseconds that have passed after `cycles`, rounded down. */
  toNs(cycles: number): number {
    if (this.tscKhz === NS_PER_MS) return cycles;
    const ms = Math.floor(cycles / this.tscKhz);
    return ms * NS_PER_MS + Math.floor(((cycles - ms * this.tscKhz) * NS_PER_MS) / this.tscKhz);
  }
}
