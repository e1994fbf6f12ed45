import type { DecoderFeature } from "../decode/decode.js";
import type { Bitness } from "../decode/instruction.js";

/** Bits of CR0 and CR4 that make instructions of the x87, MMX and SSE fault, by the manual's names. */
export interface ExtensionControls {
  /** CR0.EM: x87 raises #NM, MMX and SSE #UD. */
  readonly em: boolean;
  /** CR0.MP: WAIT obeys TS too. */
  readonly mp: boolean;
  /** CR0.TS: all of them raise #NM. */
  readonly ts: boolean;
  /** CR4.OSFXSR: without it SSE raises #UD. */
  readonly osfxsr: boolean;
}

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
  /** Absent: x87, MMX and SSE are switched on. */
  readonly extensions?: ExtensionControls;
  /** Whether CPUID shows a feature, by the decoder's name of it. Absent: all that there are. */
  readonly feature?: (name: DecoderFeature) => boolean;
}
