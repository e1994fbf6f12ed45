/**
 * Lazy arithmetic flags.
 *
 * Two 64-bit words hold all six arithmetic flags without remembering which operation wrote them, so a reader never
 * dispatches, and an instruction that keeps some flags (INC keeps CF, rotates keep all but CF and OF) edits bits:
 *
 * - `flagResult`: the result, sign-extended from the operand width. ZF is `flagResult == 0`;
 *   SF is the sign of `flagResult` XOR `SF_DELTA`; PF is the parity of its low byte XOR the parity delta byte.
 * - `flagAux`: bit 63 the carry out of the top bit (CF); bit 62 the carry into the top bit, so that OF is
 *   bit 63 XOR bit 62; bit 3 the carry out of bit 3 (AF); bit 4 `SF_DELTA`; bits 15:8 the parity delta byte.
 *   All other bits are zero.
 *
 * An addition or subtraction of width w whose vector of carries (borrows) is c stores
 * `((c << (64 - w)) & 0xC000_0000_0000_0000) | (c & 8)`; a logical operation stores 0.
 * The deltas are non-zero only after POPF, SAHF, IRET and their like, which can set flags that no result has.
 */
export const FLAG_AUX = {
  CARRY_OUT: 1n << 63n,
  CARRY_IN: 1n << 62n,
  AF: 1n << 3n,
  SF_DELTA: 1n << 4n,
  PARITY_SHIFT: 8n,
} as const;

/** RFLAGS bits that are lazy: CF, PF, AF, ZF, SF, OF. */
export const ARITHMETIC_FLAGS = 0x8d5n;

const parityOdd = (byte: bigint): bigint => {
  let b = byte & 0xffn;
  b ^= b >> 4n;
  b ^= b >> 2n;
  b ^= b >> 1n;
  return b & 1n;
};

/** The six arithmetic flags of RFLAGS from the two lazy words. */
export function decodeFlags(flagResult: bigint, flagAux: bigint): bigint {
  const cf = (flagAux >> 63n) & 1n;
  const of = cf ^ ((flagAux >> 62n) & 1n);
  const sf = ((flagResult >> 63n) & 1n) ^ ((flagAux >> 4n) & 1n);
  const zf = BigInt.asUintN(64, flagResult) === 0n ? 1n : 0n;
  const pf = 1n ^ parityOdd(flagResult ^ (flagAux >> FLAG_AUX.PARITY_SHIFT));
  const af = (flagAux >> 3n) & 1n;
  return cf | (pf << 2n) | (af << 4n) | (zf << 6n) | (sf << 7n) | (of << 11n);
}

/** The two lazy words that read back as the arithmetic flags in `rflags`. */
export function encodeFlags(rflags: bigint): { flagResult: bigint; flagAux: bigint } {
  const bit = (n: bigint): bigint => (rflags >> n) & 1n;
  // A non-zero result with positive sign, whose low byte (1) has odd parity; deltas correct what differs.
  const flagResult = bit(6n) === 1n ? 0n : 1n;
  const parityOfResult = flagResult === 0n ? 1n : 0n;
  const parityDelta = parityOfResult === bit(2n) ? 0n : 1n;
  const cf = bit(0n);
  const carryIn = cf ^ bit(11n);
  const flagAux = (cf << 63n) | (carryIn << 62n) | (bit(4n) << 3n) | (bit(7n) << 4n) | (parityDelta << 8n);
  return { flagResult, flagAux };
}

/** {@link decodeFlags} over words, the low one first. */
export function decodeFlags32(resultLow: number, resultHigh: number, auxLow: number, auxHigh: number): number {
  const cf = auxHigh >>> 31;
  const of = cf ^ ((auxHigh >>> 30) & 1);
  const sf = (resultHigh >>> 31) ^ ((auxLow >>> 4) & 1);
  const zf = (resultLow | resultHigh) === 0 ? 1 : 0;
  let parity = (resultLow ^ (auxLow >>> 8)) & 0xff;
  parity ^= parity >> 4;
  // Bit n of 0x9669 is set where the four bits of n have even parity.
  const pf = (0x9669 >> (parity & 0xf)) & 1;
  const af = (auxLow >>> 3) & 1;
  return cf | (pf << 2) | (af << 4) | (zf << 6) | (sf << 7) | (of << 11);
}

/** {@link encodeFlags} into words; `result` and `aux` are the indices of the low ones. */
export function encodeFlags32(flags: number, words: Uint32Array, result: number, aux: number): void {
  const zf = (flags >>> 6) & 1;
  const cf = flags & 1;
  const parityDelta = ((flags >>> 2) & 1) ^ zf;
  words[result] = 1 ^ zf;
  words[result + 1] = 0;
  words[aux] = (((flags >>> 4) & 1) << 3) | (((flags >>> 7) & 1) << 4) | (parityDelta << 8);
  words[aux + 1] = (cf << 31) | ((cf ^ ((flags >>> 11) & 1)) << 30);
}
