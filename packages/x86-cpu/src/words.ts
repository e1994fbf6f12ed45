/** What bit 32 of a number is worth: a 64-bit word is its low half, and so many times its high half. */
export const TWO_32 = 0x1_0000_0000;

/** The halves of a 64-bit number, unsigned. */
export const lowWord = (value: bigint): number => Number(BigInt.asUintN(32, value));
export const highWord = (value: bigint): number => Number(BigInt.asUintN(32, value >> 32n));
