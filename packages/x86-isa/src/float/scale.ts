import { FLOAT_EXCEPTION, met, ROUNDING, type FloatContext } from "./context.js";
import { packInfinity, packZero, type FloatFormat, type FloatValue } from "./format.js";
import { denormalAmong, invalid, nanAmong } from "./nan.js";
import { bitLength, cut, round } from "./round.js";

/** Exponents beyond this overflow or underflow whatever the operand. */
const FARTHEST = 70_000;

/** x * 2^y with y cut to an integer (SDM vol. 2, "FSCALE"). */
export function scale(c: FloatContext, format: FloatFormat, x: FloatValue, y: FloatValue): bigint {
  const nan = nanAmong(c, format, x, y);
  if (nan !== undefined) return nan;
  if (y.kind === "infinity") {
    const down = y.sign === 1;
    if (x.kind === (down ? "infinity" : "zero")) return invalid(c, format);
    if (denormalAmong(c, x)) return 0n;
    return down ? packZero(format, x.sign) : packInfinity(format, x.sign);
  }
  if (denormalAmong(c, x, y)) return 0n;
  if (x.kind === "infinity") return packInfinity(format, x.sign);
  if (x.kind === "zero") return packZero(format, x.sign);
  return round(c, format, x.sign, x.exponent + power(y), x.significand);
}

/** A finite value cut to an integer, held to what matters as an exponent. */
function power(y: FloatValue): number {
  if (y.kind === "zero" || y.exponent + bitLength(y.significand) <= 0) return 0;
  const { significand } = cut(ROUNDING.ZERO, y.sign, y.significand, Math.max(-y.exponent, 0), false);
  const magnitude = y.exponent > 32 ? FARTHEST : Math.min(FARTHEST, Number(significand) * 2 ** Math.max(y.exponent, 0));
  return y.sign === 1 ? -magnitude : magnitude;
}

/** The two results of FXTRACT: the exponent as a number, and the significand with the operand's sign in [1, 2). */
export function extract(
  c: FloatContext,
  format: FloatFormat,
  x: FloatValue,
): { readonly exponent: bigint; readonly significand: bigint } {
  const nan = nanAmong(c, format, x);
  if (nan !== undefined) return { exponent: nan, significand: nan };
  if (x.kind === "infinity") return { exponent: packInfinity(format, 0), significand: packInfinity(format, x.sign) };
  if (x.kind === "zero") {
    met(c, FLOAT_EXCEPTION.ZE);
    return { exponent: packInfinity(format, 1), significand: packZero(format, x.sign) };
  }
  if (denormalAmong(c, x)) return { exponent: 0n, significand: 0n };
  const length = bitLength(x.significand);
  const power = x.exponent + length - 1;
  const exponent = power === 0 ? packZero(format, 0) : round(c, format, power < 0 ? 1 : 0, 0, BigInt(Math.abs(power)));
  return { exponent, significand: round(c, format, x.sign, 1 - length, x.significand) };
}
