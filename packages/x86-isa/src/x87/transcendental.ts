import {
  denormalAmong,
  F80,
  FLOAT_EXCEPTION,
  invalid,
  met,
  nanAmong,
  packInfinity,
  packZero,
  round,
  type FloatContext,
  type FloatValue,
} from "../float/index.js";
import { arcTangent, exponential1m, FRACTION, ln2, logarithm1p, ONE, pi, sineAndCosine } from "../float/fixed.js";
import { bitLength } from "../float/round.js";
import { FSW } from "../state/fx-image.js";
import { INDEFINITE, type X87 } from "./registers.js";

/*
 * The transcendental instructions. Their results are rounded once from far more bits than 64, which is better than the
 * bound of one unit in the last place that the manual gives (SDM vol. 1, "Transcendental Instruction Accuracy");
 * processors differ in the last bit.
 */

type Sign = 0 | 1;

const BITS = BigInt(FRACTION);
const FLOAT_ONE = 0x3fff_8000_0000_0000_0000n;
/** Below 2^-TINY a function is its first term, give or take less than results can show. */
const TINY = 100;
const GUARD = 72;

/** Exponent of the leading bit of a finite number. */
const magnitude = (x: FloatValue): number => x.exponent + bitLength(x.significand) - 1;
const other = (sign: Sign): Sign => (sign ^ 1) as Sign;
const absolute = (value: bigint): bigint => (value < 0n ? -value : value);

/** Round a fixed-point number that is not exact. */
const inexact = (c: FloatContext, sign: Sign, value: bigint): bigint => round(c, F80, sign, -FRACTION, value, true);

/** A number that is a little less, or a little more, than x. */
function near(c: FloatContext, x: FloatValue, more: boolean): bigint {
  const significand = x.significand << BigInt(GUARD);
  return round(c, F80, x.sign, x.exponent - GUARD, more ? significand : significand - 1n, true);
}

/** The magnitude of a finite number as a fixed-point number. */
function fixed(x: FloatValue): bigint {
  const shift = x.exponent + FRACTION;
  return shift >= 0 ? x.significand << BigInt(shift) : x.significand >> BigInt(-shift);
}

/** x * factor, for a positive fixed-point factor that is not exact. */
function scaled(c: FloatContext, x: FloatValue, factor: bigint): bigint {
  return round(c, F80, x.sign, x.exponent - FRACTION, x.significand * factor, true);
}

// --- trigonometric

/** Operands from 2^63 on are out of range. */
const TOO_LARGE = 63;

/** What operands are reduced by: half of the 66 bits of pi that processors have (SDM vol. 1, "Approximation of Pi"). */
const HALF_PI = 0xc90f_daa2_2168_c234_cn << (BITS - 67n);

type Rounding = (c: FloatContext) => bigint;

/** Sine, cosine and tangent, each rounded when it is asked for. */
function circular(x: FloatValue): { readonly sine: Rounding; readonly cosine: Rounding; readonly tangent: Rounding } {
  if (x.kind === "zero") {
    const zero = (): bigint => packZero(F80, x.sign);
    return { sine: zero, cosine: () => FLOAT_ONE, tangent: zero };
  }
  if (magnitude(x) < -TINY) {
    return {
      sine: (c) => near(c, x, false),
      cosine: (c) => inexact(c, 0, ONE - 1n),
      tangent: (c) => near(c, x, true),
    };
  }
  const angle = fixed(x);
  const turns = (2n * angle + HALF_PI) / (2n * HALF_PI);
  const { sine, cosine } = sineAndCosine(angle - turns * HALF_PI);
  const quadrant = Number(turns & 3n);
  const [s, k] = quadrant % 2 === 0 ? [sine, cosine] : [cosine, sine];
  const signed = (value: bigint, flip: boolean): readonly [Sign, bigint] => {
    const negative = value < 0n !== flip;
    return [negative ? 1 : 0, absolute(value)];
  };
  const [sineSign, sineValue] = signed(s, quadrant >= 2 !== (x.sign === 1));
  const [cosineSign, cosineValue] = signed(k, quadrant === 1 || quadrant === 2);
  return {
    sine: (c) => inexact(c, sineSign, sineValue),
    cosine: (c) => inexact(c, cosineSign, cosineValue),
    tangent: (c) => inexact(c, (sineSign ^ cosineSign) as Sign, (sineValue << BITS) / cosineValue),
  };
}

type Results = (c: FloatContext, x: FloatValue) => { readonly first: bigint; readonly pushed?: bigint };

/** FSIN, FCOS, FSINCOS, FPTAN: C2 says that the operand is out of range, and then nothing has been done. */
function trigonometric(x: X87, pushes: boolean, results: Results): void {
  x.wait();
  const write = (first: bigint, pushed: bigint | undefined): void => {
    x.put(0, first);
    if (pushed !== undefined) x.push(pushed);
  };
  const complete = (): void => {
    x.fsw &= ~FSW.C2;
  };
  if (x.isEmpty(0) || (pushes && !x.isEmpty(7))) {
    if (x.fault(x.isEmpty(0) ? "underflow" : "overflow")) write(INDEFINITE, pushes ? INDEFINITE : undefined);
    complete();
    return;
  }
  const value = x.value(0);
  const c = x.context();
  if (value.kind === "finite" && magnitude(value) >= TOO_LARGE) {
    x.note(0, false);
    x.fsw |= FSW.C2;
    return;
  }
  const special = nanAmong(c, F80, value) ?? (value.kind === "infinity" ? invalid(c, F80) : undefined);
  if (special !== undefined) x.finish(c, () => write(special, pushes ? special : undefined));
  else if (denormalAmong(c, value)) x.finish(c, () => undefined);
  else {
    const { first, pushed } = results(c, value);
    x.finish(c, () => write(first, pushed));
  }
  complete();
}

export const fsin = (x: X87): void => trigonometric(x, false, (c, v) => ({ first: circular(v).sine(c) }));
export const fcos = (x: X87): void => trigonometric(x, false, (c, v) => ({ first: circular(v).cosine(c) }));
export const fsincos = (x: X87): void =>
  trigonometric(x, true, (c, v) => {
    const { sine, cosine } = circular(v);
    return { first: sine(c), pushed: cosine(c) };
  });
export const fptan = (x: X87): void =>
  trigonometric(x, true, (c, v) => ({ first: circular(v).tangent(c), pushed: FLOAT_ONE }));

// --- with two operands: ST(1) = f(ST(1), ST(0)), and pop

type Binary = (c: FloatContext, y: FloatValue, x: FloatValue) => bigint;

function binary(x: X87, operation: Binary): void {
  x.wait();
  const write = (result: bigint): void => {
    x.put(1, result);
    x.pop(1);
  };
  if (x.isEmpty(0) || x.isEmpty(1)) {
    if (x.fault("underflow")) write(INDEFINITE);
    return;
  }
  const c = x.context();
  const [one, two] = [x.value(0), x.value(1)];
  const result = nanAmong(c, F80, two, one) ?? operation(c, two, one);
  x.finish(c, () => write(result));
}

/** Arc tangent of y/x in the quadrant that the signs say (SDM vol. 2, "FPATAN"). */
function arcTangentOf(c: FloatContext, y: FloatValue, x: FloatValue): bigint {
  if (denormalAmong(c, y, x)) return 0n;
  const eighths = (n: bigint): bigint => round(c, F80, y.sign, -FRACTION - 3, pi() * n, true);
  if (y.kind === "infinity") return x.kind === "infinity" ? eighths(x.sign === 0 ? 2n : 6n) : eighths(4n);
  if (y.kind === "zero" || x.kind === "infinity") return x.sign === 0 ? packZero(F80, y.sign) : eighths(8n);
  if (x.kind === "zero") return eighths(4n);
  const distance = magnitude(y) - magnitude(x);
  if (distance > FRACTION - GUARD) return eighths(4n);
  if (distance < -TINY) {
    if (x.sign === 1) return inexact(c, y.sign, pi() - (distance < -FRACTION ? 0n : ratio(y, x)));
    // y/x, less what the cube of it takes away.
    const shift = BigInt(2 * GUARD + bitLength(x.significand));
    const quotient = (y.significand << shift) / x.significand;
    const exact = quotient * x.significand === y.significand << shift;
    return round(c, F80, y.sign, y.exponent - x.exponent - Number(shift), exact ? quotient - 1n : quotient, true);
  }
  const steep = distance > 0 || (distance === 0 && ratio(y, x) > ONE);
  const angle = steep ? (pi() >> 1n) - arcTangent(ratio(x, y)) : arcTangent(ratio(y, x));
  return inexact(c, y.sign, x.sign === 0 ? angle : pi() - angle);
}

/** |x| / |y| as a fixed-point number. */
function ratio(x: FloatValue, y: FloatValue): bigint {
  const shift = x.exponent - y.exponent + FRACTION;
  if (shift >= 0) return (x.significand << BigInt(shift)) / y.significand;
  return x.significand / (y.significand << BigInt(-shift));
}

export const fpatan = (x: X87): void => binary(x, arcTangentOf);

/** y * 2^exponent times a logarithm: a fixed-point number, exact or not. */
function timesLogarithm(c: FloatContext, y: FloatValue, logarithm: bigint, exact: boolean): bigint {
  const sign = logarithm < 0n ? other(y.sign) : y.sign;
  return round(c, F80, sign, y.exponent - FRACTION, y.significand * absolute(logarithm), !exact);
}

/** ST(1) * log2(ST(0)) (SDM vol. 2, "FYL2X"). */
function yLogarithm(c: FloatContext, y: FloatValue, x: FloatValue): bigint {
  if (x.kind === "zero") {
    if (y.kind === "zero") return invalid(c, F80);
    if (y.kind === "finite") met(c, FLOAT_EXCEPTION.ZE);
    return packInfinity(F80, other(y.sign));
  }
  if (x.sign === 1) return invalid(c, F80);
  if (x.kind === "infinity") {
    return y.kind === "zero" ? invalid(c, F80) : denormalAmong(c, y) ? 0n : packInfinity(F80, y.sign);
  }
  const length = bitLength(x.significand);
  const power = x.exponent + length - 1;
  const integral = x.significand === 1n << BigInt(length - 1);
  const isOne = integral && power === 0;
  if (y.kind === "infinity" && isOne) return invalid(c, F80);
  if (denormalAmong(c, y, x)) return 0n;
  const below = power < 0;
  if (y.kind === "infinity") return packInfinity(F80, below ? other(y.sign) : y.sign);
  if (y.kind === "zero") return packZero(F80, below ? other(y.sign) : y.sign);
  if (isOne) return packZero(F80, y.sign);
  if (integral) return timesLogarithm(c, y, BigInt(power) << BITS, true);
  // The significand in [3/4, 3/2), so that a logarithm near 0 comes from it alone.
  const unit = 1n << BigInt(length - 1);
  const upper = 2n * x.significand >= 3n * unit;
  const base = upper ? unit * 2n : unit;
  const fraction = (logarithm1p(x.significand - base, base) << BITS) / ln2();
  return timesLogarithm(c, y, fraction + (BigInt(power + (upper ? 1 : 0)) << BITS), false);
}

/** The operand, and no exact result. */
const undefinedResult = (c: FloatContext, x: FloatValue): bigint => {
  met(c, FLOAT_EXCEPTION.PE);
  return round(c, F80, x.sign, x.exponent, x.significand);
};

export const fyl2x = (x: X87): void => binary(x, yLogarithm);

/** ST(1) * log2(ST(0) + 1) (SDM vol. 2, "FYL2XP1"). Beyond its range of operands the result is not defined. */
function yLogarithm1p(c: FloatContext, y: FloatValue, x: FloatValue): bigint {
  const sign = (x.sign ^ y.sign) as Sign;
  if (x.kind === "infinity") {
    if (x.sign === 1 || y.kind === "zero") return invalid(c, F80);
    return denormalAmong(c, y) ? 0n : packInfinity(F80, y.sign);
  }
  if (y.kind === "infinity") {
    if (x.kind === "zero") return invalid(c, F80);
    return denormalAmong(c, x) ? 0n : packInfinity(F80, sign);
  }
  if (denormalAmong(c, y, x)) return 0n;
  if (x.kind === "zero" || y.kind === "zero") return packZero(F80, sign);
  const power = magnitude(x);
  // There is no logarithm from -1 on, which is beyond the range of operands.
  if (x.sign === 1 && power >= 0) return undefinedResult(c, x);
  if (power < -TINY) {
    const inverse = (ONE << BITS) / ln2();
    const significand = y.significand * x.significand * inverse;
    return round(c, F80, sign, y.exponent + x.exponent - FRACTION, significand, true);
  }
  const shift = Math.max(-x.exponent, 0);
  const denominator = 1n << BigInt(shift);
  const numerator = x.significand << BigInt(x.exponent + shift);
  let halvings = 0n;
  // 1 + x as a power of two times a number near 1.
  let whole = denominator;
  let sum = denominator + (x.sign === 1 ? -numerator : numerator);
  while (2n * sum > 3n * whole) {
    whole *= 2n;
    halvings++;
  }
  while (4n * sum < 3n * whole) {
    sum *= 2n;
    halvings--;
  }
  const fraction = (logarithm1p(sum - whole, whole) << BITS) / ln2();
  return timesLogarithm(c, y, fraction + (halvings << BITS), false);
}

export const fyl2xp1 = (x: X87): void => binary(x, yLogarithm1p);

/** 2^ST(0) - 1 for operands from -1 to 1 (SDM vol. 2, "F2XM1"); beyond, the result is not defined, and here the operand. */
export function f2xm1(x: X87): void {
  x.wait();
  if (x.isEmpty(0)) {
    if (x.fault("underflow")) x.put(0, INDEFINITE);
    return;
  }
  const c = x.context();
  const value = x.value(0);
  const result = nanAmong(c, F80, value) ?? powerMinusOne(c, value, x.bits(0));
  x.finish(c, () => x.put(0, result));
}

const MINUS_ONE = 0xbfff_8000_0000_0000_0000n;
const MINUS_HALF = 0xbffe_8000_0000_0000_0000n;

function powerMinusOne(c: FloatContext, x: FloatValue, bits: bigint): bigint {
  if (x.kind === "infinity") return x.sign === 1 ? MINUS_ONE : bits;
  if (x.kind === "zero") return bits;
  if (denormalAmong(c, x)) return 0n;
  const power = magnitude(x);
  if (power >= 0) return bits === MINUS_ONE ? MINUS_HALF : bits === FLOAT_ONE ? bits : undefinedResult(c, x);
  if (power < -TINY) return scaled(c, x, ln2());
  const exponent = (fixed(x) * ln2()) >> BITS;
  return inexact(c, x.sign, absolute(exponential1m(x.sign === 1 ? -exponent : exponent)));
}
