import { ACTIVITY, slot, type CpuState } from "@tapvisor/x86-isa";
import { VM_EXIT } from "../vmx/vm-exit.js";
import type { GuestEvents } from "./events.js";
import type { Stepper } from "./stepper.js";

const SLOT_ACTIVITY = slot("activity");

/** Runs many instructions at a time, where nothing has to be looked at between them. */
export interface FastPath {
  /**
   * Run from `rip` until at most `budget` instructions have retired, a system instruction has been executed, or a
   * fault has gone to the events. Retired instructions are reported to the events. `rip` is exact on return, and when it throws.
   *
   * @returns false if the guest has left non-root operation; where that is an event's doing, `VM_EXIT` is thrown
   */
  run(budget: number): boolean;
}

/** The run loop of a guest: from VM entry to VM exit. */
export class Engine {
  constructor(
    private readonly state: CpuState,
    private readonly events: GuestEvents,
    private readonly stepper: Stepper,
    /** Absent: every instruction is executed by the stepper, on the evaluator. */
    private readonly fastPath?: FastPath,
  ) {}

  /** Run until the guest leaves non-root operation. */
  run(): void {
    try {
      while (this.#advance());
    } catch (signal) {
      if (signal !== VM_EXIT) throw signal;
    }
  }

  #advance(): boolean {
    const { state, events, stepper, fastPath } = this;
    if (events.attention) events.boundary();
    if (state.get32(SLOT_ACTIVITY) !== ACTIVITY.ACTIVE) {
      events.idle();
      return true;
    }
    const budget = events.budget();
    if (budget < 1) events.boundary();
    else if (fastPath === undefined || stepper.needed) stepper.step();
    else return fastPath.run(budget);
    return true;
  }
}
