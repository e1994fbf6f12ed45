import type { LogicalProcessor } from "./processor.js";

/** Runs vCPU tasks on the logical processors, one after another on one thread. */
export interface Scheduler {
  /** The processor that the calling code runs on: smp_processor_id(). */
  current(): LogicalProcessor;
  /** Run `work` on another processor and wait, as smp_call_function_single() does. */
  runOn<T>(cpu: number, work: () => T): T;
  /** Cycles until the running task is to be preempted; the processor exits by a host interrupt then. */
  readonly quantumCycles: number;
}
