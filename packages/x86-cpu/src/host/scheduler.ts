/** Runs work on the logical processors of a host, one after another on one thread. */
export class SerialScheduler<P> {
  #current = 0;

  /**
   * @param processors the host's processors, by number
   * @param quantumCycles cycles that a task may run before another gets its turn
   */
  constructor(
    private readonly processors: readonly P[],
    readonly quantumCycles: number,
  ) {}

  /** The processor that the calling code runs on: smp_processor_id(). */
  current(): P {
    return this.#at(this.#current);
  }

  /** Run `work` on processor `cpu` and wait, as smp_call_function_single() does; calls nest. */
  runOn<T>(cpu: number, work: () => T): T {
    this.#at(cpu);
    const previous = this.#current;
    this.#current = cpu;
    try {
      return work();
    } finally {
      this.#current = previous;
    }
  }

  #at(cpu: number): P {
    const processor = this.processors[cpu];
    if (processor === undefined)
      throw new RangeError(`processor ${cpu} does not exist; there are ${this.processors.length}`);
    return processor;
  }
}
