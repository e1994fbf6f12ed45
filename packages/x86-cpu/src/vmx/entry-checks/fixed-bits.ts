import type { Checked } from "./checked.js";

const LOW = 0xffffffffn;

/** The control register in the 64-bit field lacks a bit of `fixed0`, or has one outside `fixed1`. */
export function fixedBitsViolated(c: Checked, field: number, fixed0: bigint, fixed1: bigint): boolean {
  const must = Number(fixed0 & LOW);
  const may = Number(fixed1 & LOW);
  const value = c.low(field);
  return (value & must) >>> 0 !== must || (value & ~may) !== 0 || (c.high(field) & ~Number(fixed1 >> 32n)) !== 0;
}
