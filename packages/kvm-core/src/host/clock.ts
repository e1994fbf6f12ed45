/**
 * Virtual time. A run is a pure function of its inputs because nothing but retired instructions, fixed charges for
 * intercepted ones, and jumps to the next timer of an idle machine moves it.
 */
export interface HostClock {
  /** Nanoseconds since the host started. Exact: below 2^53 for 104 days. */
  now(): number;
  /** Cycles of the invariant TSC since the host started. */
  cycles(): number;
  /** Frequency of the TSC in kHz. */
  readonly tscKhz: number;
  /** Let `cycles` go by: a fixed charge, or an injected delay. */
  charge(cycles: number): void;
  /** Jump to the given time in ns when every vCPU is idle; a time in the past changes nothing. */
  advanceTo(ns: number): void;
}

export interface TimerHandle {
  /** Absolute expiry in ns of {@link HostClock.now}, or undefined when not armed. */
  readonly deadline: number | undefined;
  arm(deadlineNs: number): void;
  cancel(): void;
}

/** Timers in virtual time: what hrtimers are in Linux. Equal deadlines fire in the order of arming. */
export interface HostTimers {
  create(name: string, fire: () => void): TimerHandle;
  /** The earliest deadline in ns, or undefined. */
  next(): number | undefined;
  /** Fire all that are due. Returns how many did. */
  runDue(): number;
}
