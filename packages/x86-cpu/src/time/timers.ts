import type { VirtualClock } from "./clock.js";

class Timer {
  deadline: number | undefined;
  /** Counts armings, so that equal deadlines fire in the order of arming. */
  order = 0;

  constructor(
    readonly name: string,
    readonly fire: () => void,
    private readonly timers: VirtualTimers,
  ) {}

  arm(deadlineNs: number): void {
    if (!Number.isFinite(deadlineNs)) throw new RangeError(`timer ${this.name}: deadline ${deadlineNs} is not finite`);
    this.timers.remove(this);
    this.deadline = deadlineNs;
    this.timers.insert(this);
  }

  cancel(): void {
    this.timers.remove(this);
    this.deadline = undefined;
  }
}

/** Timers in virtual time, in the order of their deadlines. Some tens exist, so a sorted array is the fastest queue. */
export class VirtualTimers {
  readonly #clock: VirtualClock;
  readonly #armed: Timer[] = [];
  #order = 0;

  constructor(clock: VirtualClock) {
    this.#clock = clock;
  }

  /** @param fire runs from {@link runDue}, and may arm the timer again */
  create(name: string, fire: () => void): Timer {
    return new Timer(name, fire, this);
  }

  /** The earliest deadline in ns, or undefined. */
  next(): number | undefined {
    return this.#armed[0]?.deadline;
  }

  /**
   * Fire all that are due, in the order of their deadlines. A timer that arms itself for a time that is still past
   * fires again on the next call, so a mistaken period cannot hang the host.
   *
   * @returns how many fired
   */
  runDue(): number {
    const now = this.#clock.now();
    const last = this.#order;
    let fired = 0;
    for (;;) {
      const timer = this.#armed.find((candidate) => candidate.order <= last);
      if (timer?.deadline === undefined || timer.deadline > now) return fired;
      timer.cancel();
      timer.fire();
      fired++;
    }
  }

  /** @internal */
  insert(timer: Timer): void {
    timer.order = ++this.#order;
    const deadline = timer.deadline ?? 0;
    let at = this.#armed.length;
    while (at > 0 && ((this.#armed[at - 1] as Timer).deadline ?? 0) > deadline) at--;
    this.#armed.splice(at, 0, timer);
  }

  /** @internal */
  remove(timer: Timer): void {
    const at = this.#armed.indexOf(timer);
    if (at >= 0) this.#armed.splice(at, 1);
  }
}
