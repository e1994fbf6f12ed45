import { FLOAT_EXCEPTION, met, type FloatContext, type Rounding } from "./context.js";
import { packInfinity, packZero, type FloatFormat, type FloatValue } from "./format.js";
import { denormalAmong, nanAmong } from "./nan.js";
import { cut, round } from "./round.js";

/** The value in another format, or rounded to the same one. */
export function convert(c: FloatContext, format: FloatFormat, x: FloatValue): bigint {
  const nan = nanAmong(c, format, x);
  if (nan !== undefined) return nan;
  if (denormalAmong(c, x)) return 0n;
  if (x.kind === "infinity") return packInfinity(format, x.sign);
  if (x.kind === "zero") return packZero(format, x.sign);
  return round(c, format, x.sign, x.exponent, x.significand);
}

/** An integer as a floating-point number; zero is positive. */
export function fromInteger(c: FloatContext, format: FloatFormat, value: bigint): bigint {
  if (value === 0n) return packZero(format, 0);
  return round(c, format, value < 0n ? 1 : 0, 0, value < 0n ? -value : value);
}

/** The magnitude as an integer. Below one half there is nothing but "a little more". */
function integral(rounding: Rounding, x: FloatValue): { value: bigint; inexact: boolean; up: boolean } {
  if (x.kind === "zero") return { value: 0n, inexact: false, up: false };
  const tiny = -x.exponent > 200;
  const { significand, inexact, up } = cut(rounding, x.sign, tiny ? 1n : x.significand, tiny ? 2 : -x.exponent, tiny);
  return { value: significand, inexact, up };
}

/**
 * The value as a signed integer, two's complement in `bits` bits; what does not fit, and a NaN, is an invalid operation,
 * answered with the integer indefinite 100...0. Denormal operands are not noted.
 */
export function toInteger(c: FloatContext, bits: 16 | 32 | 64, x: FloatValue, rounding: Rounding = c.rounding): bigint {
  const indefinite = 1n << BigInt(bits - 1);
  c.roundedUp = false;
  if ((x.kind !== "finite" && x.kind !== "zero") || x.exponent > 64) {
    met(c, FLOAT_EXCEPTION.IE);
    return indefinite;
  }
  const { value, inexact, up } = integral(rounding, x);
  const signed = x.sign === 1 ? -value : value;
  if (signed >= indefinite || signed < -indefinite) {
    met(c, FLOAT_EXCEPTION.IE);
    return indefinite;
  }
  if (inexact) c.flags |= FLOAT_EXCEPTION.PE;
  c.roundedUp = up;
  return BigInt.asUintN(bits, signed);
}

/** The value rounded to an integer of the same format (FRNDINT, ROUNDPD). A zero keeps the sign. */
export function roundToIntegral(
  c: FloatContext,
  format: FloatFormat,
  x: FloatValue,
  rounding: Rounding = c.rounding,
): bigint {
  const nan = nanAmong(c, format, x);
  if (nan !== undefined) return nan;
  if (x.kind === "infinity") return packInfinity(format, x.sign);
  // SSE4.1's rounding does not know the exception (SDM vol. 2, "ROUNDPD").
  if (c.rules === "x87" && denormalAmong(c, x)) return 0n;
  if (x.kind === "zero") return packZero(format, x.sign);
  if (x.exponent >= 0) {
    c.roundedUp = false;
    return round(c, format, x.sign, x.exponent, x.significand);
  }
  const { value, inexact, up } = integral(rounding, x);
  const result = value === 0n ? packZero(format, x.sign) : round(c, format, x.sign, 0, value);
  if (inexact) c.flags |= FLOAT_EXCEPTION.PE;
  c.roundedUp = up;
  return result;
}
