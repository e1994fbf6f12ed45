import { TWO_32 } from "../words.js";

/**
 * Bits of a paging-structure entry (SDM vol. 3, "Paging-Structure Entries"), of its low 32-bit word. The word above
 * holds address bits and, in bit 31, XD.
 */
export const PTE = {
  P: 1 << 0,
  W: 1 << 1,
  U: 1 << 2,
  A: 1 << 5,
  D: 1 << 6,
  PS: 1 << 7,
  G: 1 << 8,
} as const;

/** XD in the high word. */
export const PTE_HIGH_XD = 0x8000_0000;

/** Physical address in bits 51:12 of an entry, as a number. */
export function entryAddress(low: number, high: number): number {
  return (high & 0xf_ffff) * TWO_32 + ((low & 0xffff_f000) >>> 0);
}
