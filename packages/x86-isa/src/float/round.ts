import { FLOAT_EXCEPTION, ROUNDING, type FloatContext, type Rounding } from "./context.js";
import { packFinite, packInfinity, packLargest, packZero, type FloatFormat } from "./format.js";

const { OE, UE, PE } = FLOAT_EXCEPTION;

/** What an unmasked overflow divides an x87 result by, and an unmasked underflow multiplies it by, as a power of two. */
const BIAS_ADJUSTMENT = 24_576;

/** Count of bits up to the highest that is 1. */
export function bitLength(value: bigint): number {
  const digits = value.toString(16);
  return digits.length * 4 - (Math.clz32(parseInt(digits.charAt(0), 16)) - 28);
}

/** A significand cut to fewer bits. */
interface Cut {
  readonly significand: bigint;
  readonly inexact: boolean;
  readonly up: boolean;
}

/** Divide by a power of two and round; `sticky` says that there is something below the lowest bit. */
export function cut(rounding: Rounding, sign: 0 | 1, significand: bigint, shift: number, sticky: boolean): Cut {
  if (shift <= 0) return { significand: significand << BigInt(-shift), inexact: sticky, up: false };
  const bits = BigInt(shift);
  const kept = significand >> bits;
  const rest = significand - (kept << bits);
  const inexact = rest !== 0n || sticky;
  let up = false;
  if (inexact) {
    if (rounding === ROUNDING.NEAREST) {
      const half = 1n << (bits - 1n);
      up = rest > half || (rest === half && (sticky || (kept & 1n) === 1n));
    } else if (rounding !== ROUNDING.ZERO) {
      up = (rounding === ROUNDING.UP) === (sign === 0);
    }
  }
  return { significand: up ? kept + 1n : kept, inexact, up };
}

/**
 * Round `significand * 2^exponent` to a format, with overflow, underflow and inexact result. Tininess is detected after
 * rounding (SDM vol. 1, "Numeric Underflow Exception (#U)").
 *
 * @param significand not zero; with `sticky` at least two bits longer than the format's precision
 * @param sticky the value is a little greater than the significand says
 */
export function round(
  c: FloatContext,
  format: FloatFormat,
  sign: 0 | 1,
  exponent: number,
  significand: bigint,
  sticky = false,
): bigint {
  const { precision, minimum, maximum, fractionBits } = format;
  const length = bitLength(significand);
  let top = exponent + length - 1;
  let rounded = cut(c.rounding, sign, significand, length - precision, sticky);
  const before = top;
  if (rounded.significand >> BigInt(precision) !== 0n) {
    rounded = { ...rounded, significand: rounded.significand >> 1n };
    top++;
  }
  if (top > maximum) {
    c.flags |= OE;
    if ((c.masks & OE) !== 0) {
      const away = c.rounding === ROUNDING.NEAREST || (c.rounding === ROUNDING.UP) === (sign === 0);
      const infinite = away && c.rounding !== ROUNDING.ZERO;
      c.flags |= PE;
      c.roundedUp = infinite;
      return infinite ? packInfinity(format, sign) : packLargest(format, sign);
    }
    top -= BIAS_ADJUSTMENT;
    if (c.rules === "x87" && top > maximum) {
      // A result of FSCALE that the adjustment does not bring into range is an infinity, whatever the rounding.
      c.flags |= PE;
      c.roundedUp = true;
      return packInfinity(format, sign);
    }
  } else if (top < minimum) {
    if ((c.masks & UE) !== 0) {
      if (c.ftz) {
        c.flags |= UE | PE;
        return packZero(format, sign);
      }
      rounded = cut(c.rounding, sign, significand, length - precision + minimum - before, sticky);
      top = minimum;
      if (rounded.inexact) c.flags |= UE;
    } else {
      c.flags |= UE;
      top += BIAS_ADJUSTMENT;
      if (c.rules === "x87" && top < minimum) {
        c.flags |= PE;
        return packZero(format, sign);
      }
    }
  }
  if (rounded.inexact) c.flags |= PE;
  c.roundedUp = rounded.up;
  return packFinite(format, sign, top, rounded.significand << BigInt(fractionBits + 1 - precision));
}
