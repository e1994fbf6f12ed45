/** Linear address of the memory that cases read and write; the pages around it are mapped and zero. */
export const WINDOW = 0x2000;
export const WINDOW_BYTES = 1024;
/** The part of it that every case fills with values. */
export const FILLED_BYTES = 512;
/** First and last byte (exclusive) that exists around the window. */
export const DATA_START = 0x1000;
export const DATA_END = 0x4000;
/** Linear address of the instruction in 32- and 64-bit code; in 16-bit code the segment base, so that IP is 0x100. */
export const CODE = 0x2000_0000;
export const CODE_OFFSET = 0x100;
/**
 * The page that has the code: it can be read and executed, not written, and is INT3 wherever the case's code is not.
 * A case reaches no other memory than this page and the data pages, so that all who execute it fault alike.
 */
export const CODE_BYTES = 0x1000;
/** INT3. */
export const CODE_FILLER = 0xcc;

/** What one execution starts from. */
export interface Case {
  readonly bytes: Uint8Array;
  readonly gprs: readonly bigint[];
  /** CF, PF, AF, ZF, SF, OF and DF. */
  readonly flags: number;
  readonly memory: Uint8Array;
  /** x87 and SSE state as FXSAVE stores it, `FX_BYTES` long. */
  readonly fx: Uint8Array;
  /** Parts of memory whose new value is not compared: first linear address and number of bytes. */
  readonly open?: readonly (readonly [address: number, bytes: number])[];
}
