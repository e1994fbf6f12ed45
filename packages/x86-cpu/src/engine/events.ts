import type { GuestException } from "@tapvisor/x86-isa";

/**
 * What surrounds the guest's instructions: exceptions, interceptions and deadlines. VT-x implements it. A method that
 * makes the guest leave non-root operation records the exit and throws `VM_EXIT`.
 */
export interface GuestEvents {
  /** Instructions that may retire before {@link boundary} has to be asked again; at least 1. */
  budget(): number;
  /** Account for instructions that have retired: virtual time. */
  retired(instructions: number): void;
  /**
   * At an instruction boundary, when the budget is used up or {@link attention} is set (which it clears): exits that
   * are due, such as preemption timer, host interrupts, windows. Returns when the guest goes on.
   */
  boundary(): void;
  /** Something that {@link boundary} looks at may have changed. */
  readonly attention: boolean;
  /** The guest is not active (HLT, shutdown, wait-for-SIPI): let time pass to the next event. */
  idle(): void;
  /** A fault at `currentRip`, or one that `INT n` met: intercepted, or delivered through the guest's IDT into `rip`. */
  exception(fault: GuestException): void;
  /** #DB after an instruction, `rip` at the next one; `conditions` are the bits of DR6 that it sets. */
  debugTrap(conditions: bigint): void;
}
