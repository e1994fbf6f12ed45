import { FLOAT_EXCEPTION, met, type FloatContext } from "./context.js";
import { isSignalling, type FloatValue } from "./format.js";
import { denormalAmong } from "./nan.js";

export type Relation = "less" | "equal" | "greater" | "unordered";

/** Order of two finite values or infinities. */
function order(x: FloatValue, y: FloatValue): Relation {
  const xZero = x.kind === "zero";
  const yZero = y.kind === "zero";
  if (xZero && yZero) return "equal";
  if (xZero) return y.sign === 1 ? "greater" : "less";
  if (yZero || x.sign !== y.sign) return x.sign === 1 ? "less" : "greater";
  const magnitude = orderMagnitudes(x, y);
  return magnitude === 0 ? "equal" : magnitude > 0 === (x.sign === 0) ? "greater" : "less";
}

function orderMagnitudes(x: FloatValue, y: FloatValue): number {
  if (x.kind === "infinity" || y.kind === "infinity") {
    return Number(x.kind === "infinity") - Number(y.kind === "infinity");
  }
  // Significands have at most 64 bits, so a greater distance than that decides.
  const distance = x.exponent - y.exponent;
  if (Math.abs(distance) > 64) return distance;
  const one = x.significand << BigInt(Math.max(distance, 0));
  const other = y.significand << BigInt(Math.max(-distance, 0));
  return one === other ? 0 : one > other ? 1 : -1;
}

/**
 * Compare. A signalling NaN is an invalid operation; with `signalling` a quiet one is too (COMISD, FCOM, CMPLTPD).
 */
export function compare(c: FloatContext, x: FloatValue, y: FloatValue, signalling: boolean): Relation {
  if (x.kind === "unsupported" || y.kind === "unsupported") {
    met(c, FLOAT_EXCEPTION.IE);
    return "unordered";
  }
  if (x.kind === "nan" || y.kind === "nan") {
    if (signalling || isSignalling(x) || isSignalling(y)) met(c, FLOAT_EXCEPTION.IE);
    return "unordered";
  }
  denormalAmong(c, x, y);
  return order(x, y);
}

/**
 * Whether MIN or MAX answers with its first operand. It does if that is really less (greater): with a NaN, and of two
 * zeros, the second is the answer (SDM vol. 2, "MINPD").
 */
export function firstWins(c: FloatContext, which: "min" | "max", x: FloatValue, y: FloatValue): boolean {
  return compare(c, x, y, true) === (which === "min" ? "less" : "greater");
}
