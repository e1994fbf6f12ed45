import { integerRoot } from "./arithmetic.js";

/**
 * Elementary functions on fixed-point numbers: bigints with {@link FRACTION} bits behind the point. Errors stay far
 * below what results of 64 bits can show, so that rounding them once gives the nearest value but for the rarest ties.
 */
export const FRACTION = 400;
const BITS = BigInt(FRACTION);
export const ONE = 1n << BITS;

const multiply = (x: bigint, y: bigint): bigint => (x * y) >> BITS;
const divide = (x: bigint, y: bigint): bigint => (x << BITS) / y;

/** Sum of z^(2k+1) / (2k+1), the signs alternating or not: arc tangent and its hyperbolic sister for |z| < 1. */
function oddSeries(z: bigint, alternating: boolean): bigint {
  const square = alternating ? -multiply(z, z) : multiply(z, z);
  let power = z;
  let sum = z;
  for (let n = 3n; power !== 0n && power !== -1n; n += 2n) {
    power = multiply(power, square);
    sum += power / n;
  }
  return sum;
}

const memo = (compute: () => bigint): (() => bigint) => {
  let value: bigint | undefined;
  return () => (value ??= compute());
};

/** Machin's formula. */
export const pi = memo(() => 16n * oddSeries(ONE / 5n, true) - 4n * oddSeries(ONE / 239n, true));
export const ln2 = memo(() => 2n * oddSeries(ONE / 3n, false));

/** Sine and cosine of an angle up to pi/4 either way. */
export function sineAndCosine(x: bigint): { readonly sine: bigint; readonly cosine: bigint } {
  const square = -multiply(x, x);
  const series = (first: bigint, start: bigint): bigint => {
    let term = first;
    let sum = first;
    for (let n = start; term !== 0n && term !== -1n; n += 2n) {
      term = multiply(term, square) / (n * (n + 1n));
      sum += term;
    }
    return sum;
  };
  return { sine: series(x, 2n), cosine: series(ONE, 1n) };
}

/** Arc tangent of a number from 0 to 1. */
export function arcTangent(x: bigint): bigint {
  let z = x;
  // Halve the angle until the series is quick: tan(a/2) = tan a / (1 + sqrt(1 + tan^2 a)).
  const halvings = 4n;
  for (let n = 0n; n < halvings; n++) z = divide(z, ONE + integerRoot((ONE + multiply(z, z)) << BITS));
  return oddSeries(z, true) << halvings;
}

/** Natural logarithm of 1 + x, x being the quotient of two integers and greater than -1/2. */
export function logarithm1p(numerator: bigint, denominator: bigint): bigint {
  return 2n * oddSeries((numerator << BITS) / (2n * denominator + numerator), false);
}

/** e^x - 1 for |x| < 1. */
export function exponential1m(x: bigint): bigint {
  let term = x;
  let sum = x;
  for (let n = 2n; term !== 0n && term !== -1n; n++) {
    term = multiply(term, x) / n;
    sum += term;
  }
  return sum;
}
