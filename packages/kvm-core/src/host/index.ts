export * from "./clock.js";
export * from "./memory.js";
export * from "./options.js";
export * from "./processor.js";
export * from "./scheduler.js";
import type { HostClock, HostTimers } from "./clock.js";
import type { PhysicalMemory } from "./memory.js";
import type { HostOptions } from "./options.js";
import type { LogicalProcessor } from "./processor.js";
import type { Scheduler } from "./scheduler.js";

/** The machine that KVM stands on. `P` is the kind of processor that a backend drives. */
export interface HostPlatform<P extends LogicalProcessor = LogicalProcessor> {
  readonly memory: PhysicalMemory;
  readonly processors: readonly P[];
  readonly clock: HostClock;
  readonly timers: HostTimers;
  readonly scheduler: Scheduler;
}

/** Everything that KVM stands on: a machine, and how Linux on it is configured. */
export interface Host<P extends LogicalProcessor = LogicalProcessor> extends HostPlatform<P> {
  readonly options: HostOptions;
}
