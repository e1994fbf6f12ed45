import { FLOAT_EXCEPTION, met, type FloatContext } from "./context.js";
import { isSignalling, packIndefinite, packNan, type FloatFormat, type FloatValue } from "./format.js";

/** Invalid operation: the answer while it is masked. */
export function invalid(c: FloatContext, format: FloatFormat): bigint {
  met(c, FLOAT_EXCEPTION.IE);
  return packIndefinite(format);
}

/** Which of two NaNs the x87 answers with (SDM vol. 1, "Operating on SNaNs and QNaNs"). */
function x87Choice(x: FloatValue, y: FloatValue): FloatValue {
  if (isSignalling(x) !== isSignalling(y)) return isSignalling(x) ? y : x;
  if (x.significand !== y.significand) return x.significand > y.significand ? x : y;
  return x.sign <= y.sign ? x : y;
}

/**
 * The answer where an operand is a NaN or unsupported; undefined where none is. SSE takes the first operand if that is
 * a NaN, the x87 the one with the larger significand; it is made quiet.
 */
export function nanAmong(c: FloatContext, format: FloatFormat, x: FloatValue, y: FloatValue = x): bigint | undefined {
  const first = x.kind === "nan";
  const second = y.kind === "nan";
  if (x.kind === "unsupported" || y.kind === "unsupported") return invalid(c, format);
  if (!first && !second) return undefined;
  if (isSignalling(x) || isSignalling(y)) met(c, FLOAT_EXCEPTION.IE);
  const chosen = first && second ? (c.rules === "sse" ? x : x87Choice(x, y)) : first ? x : y;
  return packNan(format, chosen.sign, chosen.significand);
}

/** Note denormal operands; true if that is unmasked, so that nothing is computed. */
export function denormalAmong(c: FloatContext, x: FloatValue, y: FloatValue = x): boolean {
  return x.denormal || y.denormal ? met(c, FLOAT_EXCEPTION.DE) : false;
}
