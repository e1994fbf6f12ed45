import type { Machine } from "@tapvisor/x86-isa";

/** Why a guest-physical address is accessed, for {@link SecondStage.translate}. */
export const STAGE_ACCESS = { READ: 1, WRITE: 2, EXECUTE: 4 } as const;

/** What the guest-physical address is of. */
export const STAGE_OF = {
  /** The page that the guest's linear address translates to. */
  LINEAR: 0,
  /** An entry of the guest's paging structures. */
  WALK: 1,
  /** The PDPTEs, which MOV to CR3 loads for no linear address. */
  PDPTE: 2,
} as const;

/**
 * The second stage of address translation: EPT, where it is active. It throws the machine's exit signal on a violation
 * or misconfiguration.
 */
export interface SecondStage {
  /**
   * Host physical address of a guest-physical one.
   *
   * @param gpa guest-physical address, at most 52 bits
   * @param access one of {@link STAGE_ACCESS}; read and write together for a read-modify-write
   * @param of one of {@link STAGE_OF}
   * @param linearLow low half of the guest linear address that is being translated
   * @param linearHigh its high half
   */
  translate(gpa: number, access: number, of: number, linearLow: number, linearHigh: number): number;
}

/** Linear memory as one guest sees it: paging, the TLB and RAM. */
export interface MemoryUnit extends Pick<Machine, "load" | "store" | "probe" | "modeChanged"> {
  /** EPT from now on, or undefined for none: guest-physical addresses are host-physical ones. */
  setSecondStage(stage: SecondStage | undefined): void;
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
   * Retire instructions until `fuel` of the state is used up, or {@link SystemUnit.needsAttention} says so after a
   * system instruction. An exception or the exit signal is thrown on, with RIP at the instruction that met it and the
   * fuel of instructions that did not retire given back.
   */
  run(): void;
  /** Retire one instruction or one iteration of a repeated one; throws as {@link run} does. */
  step(): void;
}
