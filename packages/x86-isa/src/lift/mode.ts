import type { Bitness } from "../decode/instruction.js";

/**
 * What the lifting of an instruction depends on besides its bytes. Blocks are cached by it, so it holds nothing that
 * changes often.
 */
export interface CodeMode {
  readonly bitness: Bitness;
  /** Bytes of the stack pointer in use: SS.B outside 64-bit mode. */
  readonly stackBytes: 2 | 4 | 8;
  /**
   * CS, DS, ES and SS are usable, have base 0, a limit of 4 GiB and the rights for every access, so that an offset is a
   * linear address. Of no importance in 64-bit mode.
   */
  readonly flat: boolean;
  /** RFLAGS.VM. */
  readonly virtual8086: boolean;
  /** CR0.PE. */
  readonly protectedMode: boolean;
  /** Whether CPUID shows a feature, by iced-x86's name of it (`BMI1`, `POPCNT`, ...). Absent: all that there are. */
  readonly feature?: (name: string) => boolean;
}
