import type { Machine } from "@tapvisor/x86-isa";
import type { SecondStage } from "../paging/second-stage.js";

/** Linear memory as one guest sees it: paging, the TLB and RAM. */
export interface MemoryUnit extends Pick<Machine, "load" | "store" | "probe" | "modeChanged"> {
  /** What translates guest-physical addresses from now on. */
  setSecondStage(stage: SecondStage): void;
  /** Forget every cached translation. */
  flushAll(): void;
  /** Forget the translations of the current address space; `globals`: those of global pages too. */
  flushLinear(globals: boolean): void;
  /** Forget the translation of one linear address. */
  flushPage(linear: bigint): void;
}

/** What executes instructions. */
export interface Engine {
  /**
   * Retire instructions until `fuel` of the state is used up, or `GuestMachine.needsAttention` says so after a
   * system instruction. An exception or the exit signal is thrown on, with RIP at the instruction that met it and the
   * fuel of instructions that did not retire given back.
   */
  run(): void;
  /** Retire one instruction or one iteration of a repeated one; throws as {@link run} does. */
  step(): void;
}
