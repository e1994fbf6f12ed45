import type { InterruptionType } from "../tables/events.js";

/** An interrupt or exception on its way through the IVT or IDT. */
export interface InterruptEvent {
  readonly vector: number;
  /** One of `INTR_TYPE`: software events are checked against the gate's DPL, and set no EXT bit. */
  readonly type: InterruptionType;
  /** Pushed in protected and IA-32e mode where present. */
  readonly errorCode?: number | undefined;
  /** Instruction pointer that the handler returns to: of the instruction for a fault, after it for a trap. */
  readonly returnRip: bigint;
  /** Set RF in the pushed image, as faults do (SDM vol. 3, "Instruction-Breakpoint Exception Condition"). */
  readonly resumeFlag?: boolean;
}
