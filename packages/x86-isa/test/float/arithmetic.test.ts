import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  add,
  compare,
  convert,
  divide,
  F32,
  F64,
  F80,
  F80_SINGLE,
  FLOAT_EXCEPTION,
  fromInteger,
  multiply,
  packFinite,
  ROUNDING,
  squareRoot,
  subtract,
  toInteger,
  unpack,
  x87Context,
  type FloatContext,
  type FloatFormat,
  type FloatValue,
} from "../../src/float/index.js";

const { IE, OE, UE, PE } = FLOAT_EXCEPTION;
const view = new DataView(new ArrayBuffer(8));
const bits64 = (value: number): bigint => (view.setFloat64(0, value), view.getBigUint64(0));
const float64 = (bits: bigint): number => (view.setBigUint64(0, bits), view.getFloat64(0));
const bits32 = (value: number): bigint => (view.setFloat32(0, value), BigInt(view.getUint32(0)));
const float32 = (bits: bigint): number => (view.setUint32(0, Number(bits)), view.getFloat32(0));

const context = (rounding: number, masks = 0x3f, ftz = false): FloatContext => ({
  ...x87Context(masks | (rounding << 10)),
  rules: "sse",
  ftz,
});

const double = fc.oneof(fc.double({ noNaN: true }), fc.double({ noNaN: true, min: -4, max: 4 }), fc.integer());
const single = fc.oneof(fc.float({ noNaN: true }), fc.integer({ min: -9999, max: 9999 }));
const OPERATIONS = [
  ["add", add, (x: number, y: number) => x + y],
  ["subtract", subtract, (x: number, y: number) => x - y],
  ["multiply", multiply, (x: number, y: number) => x * y],
  ["divide", divide, (x: number, y: number) => x / y],
] as const;

describe("arithmetic rounded to nearest", () => {
  it.each(OPERATIONS)("%s is what the host computes in double precision", (_name, soft, native) => {
    const property = fc.property(double, double, (x, y) => {
      const expected = native(x, y);
      const result = soft(context(ROUNDING.NEAREST), F64, unpack(F64, bits64(x)), unpack(F64, bits64(y)));
      expect(float64(result)).toBe(expected);
    });
    fc.assert(property, { numRuns: 2000, seed: 1 });
  });

  // A double holds the product of two singles, and rounding twice does no harm to the others.
  it.each(OPERATIONS)("%s is what the host computes in single precision", (_name, soft, native) => {
    const property = fc.property(single, single, (x, y) => {
      const result = soft(context(ROUNDING.NEAREST), F32, unpack(F32, bits32(x)), unpack(F32, bits32(y)));
      expect(float32(result)).toBe(Math.fround(native(x, y)));
    });
    fc.assert(property, { numRuns: 2000, seed: 2 });
  });

  it("takes square roots as the host does", () => {
    const property = fc.property(double, (x) => {
      const result = squareRoot(context(ROUNDING.NEAREST), F64, unpack(F64, bits64(x)));
      expect(float64(result)).toBe(Math.sqrt(x));
    });
    fc.assert(property, { numRuns: 2000, seed: 3 });
  });

  it("converts between formats and integers as the host does", () => {
    const property = fc.property(double, fc.bigInt(-(1n << 63n), (1n << 63n) - 1n), (x, n) => {
      const c = context(ROUNDING.NEAREST);
      const value = unpack(F64, bits64(x));
      expect(float32(convert(c, F32, value))).toBe(Math.fround(x));
      expect(convert(c, F64, unpack(F80, convert(c, F80, value)))).toBe(bits64(x));
      expect(float64(fromInteger(c, F64, n))).toBe(Number(n));
      if (Math.abs(x) < 2 ** 31)
        expect(toInteger(c, 32, value, ROUNDING.ZERO)).toBe(BigInt.asUintN(32, BigInt(Math.trunc(x))));
    });
    fc.assert(property, { numRuns: 2000, seed: 4 });
  });

  it("orders as the host does", () => {
    const property = fc.property(double, double, (x, y) => {
      const expected = x < y ? "less" : x > y ? "greater" : "equal";
      expect(compare(context(0), unpack(F64, bits64(x)), unpack(F64, bits64(y)), true)).toBe(expected);
    });
    fc.assert(property, { numRuns: 1000, seed: 5 });
  });
});

/** A finite value as a fraction with the power of two 2^-SCALE below it. */
const SCALE = 40_000n;
const exact = (x: FloatValue): bigint => {
  const magnitude = x.significand << (SCALE + BigInt(x.exponent));
  return x.sign === 1 ? -magnitude : magnitude;
};
/** The last bit of a significand, and how encodings lie to each other. */
const unit = (format: FloatFormat): bigint => 1n << BigInt(format.fractionBits + 1 - format.precision);
const sameBinade = (format: FloatFormat, one: bigint, other: bigint): boolean =>
  one >> BigInt(format.fractionBits) === other >> BigInt(format.fractionBits);
const distance = (one: bigint, other: bigint): bigint => (one > other ? one - other : other - one);

describe("every rounding mode", () => {
  const significand = fc.oneof(fc.bigInt(1n << 63n, (1n << 64n) - 1n), fc.constantFrom(1n << 63n, (1n << 64n) - 1n));
  const wide = fc.tuple(fc.constantFrom<0 | 1>(0, 1), fc.integer({ min: -60, max: 60 }), significand);
  const value = (format: FloatFormat, [sign, exponent, bits]: [0 | 1, number, bigint]): FloatValue => {
    const encoded = packFinite(format, sign, exponent, bits >> BigInt(63 - format.fractionBits));
    return unpack(format, encoded);
  };

  it.each([
    ["F32", F32],
    ["F64", F64],
    ["F80", F80],
    ["F80 in single precision", F80_SINGLE],
  ] as const)("brackets the exact result in %s", (_name, format) => {
    const property = fc.property(wide, wide, (one, other) => {
      const [x, y] = [value(format, one), value(format, other)];
      const questions: [typeof add, bigint, bigint][] = [
        [add, exact(x) + exact(y), 1n],
        [subtract, exact(x) - exact(y), 1n],
        [multiply, (exact(x) * exact(y)) >> SCALE, 1n],
        [divide, exact(x) << SCALE, exact(y)],
      ];
      for (const [soft, numerator, denominator] of questions) {
        const attempt = (rounding: number): { bits: bigint; rounded: bigint; error: bigint } => {
          const c = context(rounding);
          const bits = soft(c, format, x, y);
          const rounded = exact(unpack(format, bits));
          // The result minus the exact value, times the denominator's magnitude.
          const error = (rounded * denominator - numerator) * (denominator < 0n ? -1n : 1n);
          expect((c.flags & PE) !== 0).toBe(error !== 0n);
          return { bits, rounded, error };
        };
        const nearest = attempt(ROUNDING.NEAREST);
        const down = attempt(ROUNDING.DOWN);
        const up = attempt(ROUNDING.UP);
        const zero = attempt(ROUNDING.ZERO);
        if (down.error === 0n) {
          const values = [nearest, up, zero].map(({ rounded }) => rounded);
          expect(values).toEqual([down.rounded, down.rounded, down.rounded]);
          continue;
        }
        expect(down.error < 0n && up.error > 0n).toBe(true);
        if (sameBinade(format, down.bits, up.bits)) expect(distance(down.bits, up.bits)).toBe(unit(format));
        expect(zero.bits).toBe(down.rounded < 0n ? up.bits : down.bits);
        expect(nearest.bits).toBe(-down.error < up.error ? down.bits : -down.error > up.error ? up.bits : nearest.bits);
        expect([down.bits, up.bits]).toContain(nearest.bits);
      }
    });
    fc.assert(property, { numRuns: 150, seed: 6 });
  });

  it("brackets square roots", () => {
    const property = fc.property(wide, ([, exponent, bits]) => {
      const x = value(F80, [0, exponent, bits]);
      const [down, up] = [ROUNDING.DOWN, ROUNDING.UP].map((rounding) =>
        exact(unpack(F80, squareRoot(context(rounding), F80, x))),
      );
      const square = exact(x) << SCALE;
      expect((down as bigint) ** 2n <= square && square <= (up as bigint) ** 2n).toBe(true);
      expect((up as bigint) - (down as bigint) <= 1n << (SCALE + 60n - 63n)).toBe(true);
    });
    fc.assert(property, { numRuns: 200, seed: 7 });
  });
});

describe("results out of range", () => {
  const least = unpack(F64, 0x0010_0000_0000_0000n);
  const half = unpack(F64, bits64(0.5));
  const third = unpack(F64, bits64(1 / 3));

  it("are tiny without an exception while they are exact and underflow is masked", () => {
    const c = context(0);
    expect(multiply(c, F64, least, half)).toBe(0x0008_0000_0000_0000n);
    expect(c.flags).toBe(0);
  });

  it("underflow when they are exact and underflow is unmasked", () => {
    const c = context(0, 0x3f & ~UE);
    multiply(c, F64, least, half);
    expect(c.flags).toBe(UE);
  });

  it("are flushed to zero", () => {
    const c = context(ROUNDING.UP, 0x3f, true);
    expect(multiply(c, F64, least, third)).toBe(0n);
    expect(c.flags).toBe(UE | PE);
  });

  it("are not tiny if rounding to full precision brings them back", () => {
    // (1 - 2^-53) * 2^-1022 rounds to the least normal number both ways, but only one of them is inexact at 53 bits.
    const below = unpack(F64, bits64(1 - 2 ** -53));
    const c = context(0);
    expect(multiply(c, F64, least, below)).toBe(0x0010_0000_0000_0000n);
    expect(c.flags).toBe(UE | PE);
    const wide = context(0);
    const longer = unpack(F80, 0x3ffe_ffff_ffff_ffff_fff0n);
    expect(multiply(wide, F64, least, longer)).toBe(0x0010_0000_0000_0000n);
    expect(wide.flags).toBe(PE);
  });

  it("overflow to infinity or to the largest number by the rounding mode", () => {
    const largest = unpack(F64, bits64(Number.MAX_VALUE));
    const results = [0, 1, 2, 3].map((rounding) => {
      const c = context(rounding);
      const result = float64(add(c, F64, largest, largest));
      expect(c.flags).toBe(OE | PE);
      return result;
    });
    expect(results).toEqual([Infinity, Number.MAX_VALUE, Infinity, Number.MAX_VALUE]);
  });

  it("leave an unmasked overflow of the x87 divided by 2^24576", () => {
    const c = x87Context(0x3f & ~OE);
    const huge = unpack(F80, 0x7ffe_8000_0000_0000_0000n);
    expect(multiply(c, F80, huge, huge)).toBe((BigInt(0x7ffe + 0x7ffe - 0x3fff - 24_576) << 64n) | (1n << 63n));
    expect(c.flags).toBe(OE);
  });

  it("do not fit an integer", () => {
    const c = context(0);
    expect(toInteger(c, 32, unpack(F64, bits64(2 ** 31)))).toBe(0x8000_0000n);
    expect(c.flags).toBe(IE);
    const fits = context(0);
    expect(toInteger(fits, 32, unpack(F64, bits64(-(2 ** 31) - 0.25)))).toBe(0x8000_0000n);
    expect(fits.flags).toBe(PE);
  });
});
