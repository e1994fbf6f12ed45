import { denormalAmong, F80, invalid, nanAmong, round } from "../float/index.js";
import type { FloatContext, FloatValue } from "../float/index.js";
import { FSW } from "../state/fx-image.js";
import { INDEFINITE, type X87 } from "./registers.js";

/** A partial remainder: C2 says that the reduction is not complete, otherwise the quotient's low bits are conditions. */
interface Remainder {
  readonly bits: bigint;
  /** Undefined where an operand is a NaN or the operation invalid. */
  readonly conditions: number | undefined;
}

/** Quotient bits 2, 1 and 0 are C0, C3 and C1. */
function quotientConditions(quotient: bigint): number {
  const bit = (n: bigint, condition: number): number => (((quotient >> n) & 1n) === 1n ? condition : 0);
  return bit(2n, FSW.C0) | bit(1n, FSW.C3) | bit(0n, FSW.C1);
}

/** Exponent of the leading bit. */
const magnitude = (x: FloatValue): number => x.exponent + x.significand.toString(2).length - 1;

/**
 * ST(0) - Q * ST(1), exactly (SDM vol. 2, "FPREM", "FPREM1").
 *
 * @param nearest Q is the quotient rounded to nearest, as IEEE 754 wants it, and not cut
 */
function remainder(c: FloatContext, x: FloatValue, y: FloatValue, nearest: boolean): Remainder {
  const nan = nanAmong(c, F80, x, y);
  if (nan !== undefined) return { bits: nan, conditions: undefined };
  if (x.kind === "infinity" || y.kind === "zero") return { bits: invalid(c, F80), conditions: undefined };
  if (denormalAmong(c, x, y)) return { bits: 0n, conditions: undefined };
  if (x.kind === "zero" || y.kind === "infinity") {
    const bits = x.kind === "zero" ? BigInt(x.sign) << 79n : round(c, F80, x.sign, x.exponent, x.significand);
    return { bits, conditions: 0 };
  }
  const distance = magnitude(x) - magnitude(y);
  if (distance < (nearest ? -1 : 0)) {
    return { bits: round(c, F80, x.sign, x.exponent, x.significand), conditions: 0 };
  }
  // Beyond 63 bits of quotient the reduction goes in steps of 32 to 63 bits.
  const partial = distance >= 64;
  const step = partial ? distance - ((distance & 31) | 32) : 0;
  const exponent = Math.min(x.exponent, y.exponent + step);
  const dividend = x.significand << BigInt(x.exponent - exponent);
  const divisor = y.significand << BigInt(y.exponent + step - exponent);
  let quotient = dividend / divisor;
  let rest = dividend - quotient * divisor;
  let { sign } = x;
  if (nearest && !partial) {
    const twice = rest * 2n;
    if (twice > divisor || (twice === divisor && (quotient & 1n) === 1n)) {
      quotient += 1n;
      rest = divisor - rest;
      sign = (sign ^ 1) as 0 | 1;
    }
  }
  const bits = rest === 0n ? BigInt(x.sign) << 79n : round(c, F80, sign, exponent, rest);
  return { bits, conditions: partial ? FSW.C2 : quotientConditions(quotient) };
}

/** FPREM and FPREM1. */
export function fprem(x: X87, nearest: boolean): void {
  x.wait();
  // Without a quotient C0 and C3 stay, and the reduction counts as complete.
  const none = x.fsw & (FSW.C0 | FSW.C3);
  if (x.isEmpty(0) || x.isEmpty(1)) {
    if (x.fault("underflow")) x.put(0, INDEFINITE);
    x.setConditions(none);
    return;
  }
  const c = x.context();
  const { bits, conditions } = remainder(c, x.value(0), x.value(1), nearest);
  x.finish(c, () => x.put(0, bits));
  x.setConditions(conditions ?? none);
}
