import { FLOAT_EXCEPTION, met, ROUNDING, type FloatContext } from "./context.js";
import { packInfinity, packZero, type FloatFormat, type FloatValue } from "./format.js";
import { denormalAmong, invalid, nanAmong } from "./nan.js";
import { bitLength, round } from "./round.js";

/** Result of an operation that an unmasked exception keeps from being computed; nobody looks at it. */
const NOTHING = 0n;

/** Bits beyond which the smaller of two summands is nothing but "a little more". */
const FAR = 140;

/** x + y, rounded to `format`. */
export function add(c: FloatContext, format: FloatFormat, x: FloatValue, y: FloatValue): bigint {
  return sum(c, format, x, y, y.sign);
}

/** x - y, rounded to `format`. */
export function subtract(c: FloatContext, format: FloatFormat, x: FloatValue, y: FloatValue): bigint {
  return sum(c, format, x, y, (y.sign ^ 1) as 0 | 1);
}

/** x + y with a sign for y. A NaN keeps its own. */
function sum(c: FloatContext, format: FloatFormat, x: FloatValue, y: FloatValue, sign: 0 | 1): bigint {
  const nan = nanAmong(c, format, x, y);
  if (nan !== undefined) return nan;
  if (x.kind === "infinity" && y.kind === "infinity" && x.sign !== sign) return invalid(c, format);
  if (denormalAmong(c, x, y)) return NOTHING;
  if (x.kind === "infinity") return packInfinity(format, x.sign);
  if (y.kind === "infinity") return packInfinity(format, sign);
  const zeroSign = c.rounding === ROUNDING.DOWN ? 1 : 0;
  if (x.kind === "zero" && y.kind === "zero") return packZero(format, x.sign === sign ? sign : zeroSign);
  if (x.kind === "zero") return round(c, format, sign, y.exponent, y.significand);
  if (y.kind === "zero") return round(c, format, x.sign, x.exponent, x.significand);

  const xFirst = x.exponent + bitLength(x.significand) >= y.exponent + bitLength(y.significand);
  const [big, small] = xFirst ? [x, y] : [y, x];
  const [bigSign, smallSign] = xFirst ? [x.sign, sign] : [sign, x.sign];
  const distance = big.exponent - small.exponent;
  if (distance > FAR) {
    const far = big.significand << BigInt(FAR);
    const exact = bigSign === smallSign ? far : far - 1n;
    return round(c, format, bigSign, big.exponent - FAR, exact, true);
  }
  const exponent = Math.min(big.exponent, small.exponent);
  const one = big.significand << BigInt(big.exponent - exponent);
  const other = small.significand << BigInt(small.exponent - exponent);
  if (bigSign === smallSign) return round(c, format, bigSign, exponent, one + other);
  if (one === other) return packZero(format, zeroSign);
  if (one > other) return round(c, format, bigSign, exponent, one - other);
  return round(c, format, smallSign, exponent, other - one);
}

/** x * y, rounded to `format`. */
export function multiply(c: FloatContext, format: FloatFormat, x: FloatValue, y: FloatValue): bigint {
  const nan = nanAmong(c, format, x, y);
  if (nan !== undefined) return nan;
  const sign = (x.sign ^ y.sign) as 0 | 1;
  const infinite = x.kind === "infinity" || y.kind === "infinity";
  const zero = x.kind === "zero" || y.kind === "zero";
  if (infinite && zero) return invalid(c, format);
  if (denormalAmong(c, x, y)) return NOTHING;
  if (infinite) return packInfinity(format, sign);
  if (zero) return packZero(format, sign);
  return round(c, format, sign, x.exponent + y.exponent, x.significand * y.significand);
}

/** x / y, rounded to `format`. */
export function divide(c: FloatContext, format: FloatFormat, x: FloatValue, y: FloatValue): bigint {
  const nan = nanAmong(c, format, x, y);
  if (nan !== undefined) return nan;
  const sign = (x.sign ^ y.sign) as 0 | 1;
  if (x.kind === y.kind && x.kind !== "finite") return invalid(c, format);
  if (y.kind === "zero" && x.kind === "finite") {
    met(c, FLOAT_EXCEPTION.ZE);
    return packInfinity(format, sign);
  }
  if (denormalAmong(c, x, y)) return NOTHING;
  if (x.kind === "infinity") return packInfinity(format, sign);
  if (x.kind === "zero") return packZero(format, sign);
  if (y.kind === "infinity") return packZero(format, sign);
  if (y.kind === "zero") return packInfinity(format, sign);
  const shift = Math.max(0, format.precision + 2 - bitLength(x.significand) + bitLength(y.significand));
  const dividend = x.significand << BigInt(shift);
  const quotient = dividend / y.significand;
  const sticky = quotient * y.significand !== dividend;
  return round(c, format, sign, x.exponent - y.exponent - shift, quotient, sticky);
}

/** The square root of x, rounded to `format`. */
export function squareRoot(c: FloatContext, format: FloatFormat, x: FloatValue): bigint {
  const nan = nanAmong(c, format, x);
  if (nan !== undefined) return nan;
  if (x.kind === "zero") return packZero(format, x.sign);
  if (x.sign === 1) return invalid(c, format);
  if (denormalAmong(c, x)) return NOTHING;
  if (x.kind === "infinity") return packInfinity(format, 0);
  let shift = Math.max(0, 2 * (format.precision + 2) - bitLength(x.significand));
  if (((x.exponent - shift) & 1) !== 0) shift++;
  const radicand = x.significand << BigInt(shift);
  const root = integerRoot(radicand);
  return round(c, format, 0, (x.exponent - shift) / 2, root, root * root !== radicand);
}

/** The square root of a positive integer, rounded down: Newton's method from above. */
export function integerRoot(value: bigint): bigint {
  let root = 1n << BigInt((bitLength(value) + 1) >> 1);
  for (;;) {
    const next = (root + value / root) >> 1n;
    if (next >= root) return root;
    root = next;
  }
}
