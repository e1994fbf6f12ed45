import { BIAS, EXPONENT_MASK, INTEGER_BIT, SIGN_BIT, type Extended, type Push, type Quick } from "./quick.js";
import type { Source } from "../../x87/sources.js";

/** Where a real format of memory has its fields. */
interface RealLayout {
  readonly bits: 32 | 64;
  readonly fraction: number;
  readonly bias: number;
}
const LAYOUTS: Record<"m32" | "m64", RealLayout> = {
  m32: { bits: 32, fraction: 23, bias: 127 },
  m64: { bits: 64, fraction: 52, bias: 1023 },
};

const BYTES = { m32: 4, m64: 8, i16: 2, i32: 4, i64: 8 } as const;

/** The memory operand as a normal number or zero; the slow way for any other. */
export function loadOperand(q: Quick, source: Source): Extended {
  const bits = q.i64();
  q.set(bits, () => q.e.load(BYTES[source], false));
  return source === "m32" || source === "m64" ? fromReal(q, bits, LAYOUTS[source]) : fromInteger(q, bits, source);
}

function fromReal(q: Quick, bits: number, { bits: width, fraction, bias }: RealLayout): Extended {
  const value = { head: q.i32(), significand: q.i64() };
  const exponent = q.i32();
  const largest = (1 << (width - 1 - fraction)) - 1;
  q.set(
    exponent,
    q.op("i32.and", q.op("i32.wrap_i64", q.op("i64.shr_u", q.get(bits), q.long(BigInt(fraction)))), q.int(largest)),
  );
  const sign = q.op(
    "i32.shl",
    q.op("i32.and", q.op("i32.wrap_i64", q.op("i64.shr_u", q.get(bits), q.long(BigInt(width - 1)))), q.int(1)),
    q.int(15),
  );
  q.if(
    q.get(exponent),
    () => {
      q.slowIf(q.op("i32.eq", q.get(exponent), q.int(largest)));
      q.set(value.head, q.op("i32.or", q.op("i32.add", q.get(exponent), q.int(BIAS - bias)), sign));
      const aligned = q.op("i64.shl", q.get(bits), q.long(BigInt(63 - fraction)));
      q.set(value.significand, q.op("i64.or", aligned, q.long(INTEGER_BIT)));
    },
    () => {
      // Without an exponent it is a zero or a denormal.
      const magnitude = q.op("i64.shl", q.get(bits), q.long(BigInt(65 - width)));
      q.slowIf(q.op("i64.ne", magnitude, q.long(0n)));
      q.set(value.head, sign);
      q.set(value.significand, q.long(0n));
    },
  );
  return value;
}

function fromInteger(q: Quick, bits: number, source: "i16" | "i32" | "i64"): Extended {
  const value = { head: q.i32(), significand: q.i64() };
  if (source === "i16") q.set(bits, q.op("i64.extend16_s", q.get(bits)));
  if (source === "i32") q.set(bits, q.op("i64.extend32_s", q.get(bits)));
  q.set(value.head, q.int(0));
  q.set(value.significand, q.long(0n));
  q.if(q.op("i32.eqz", q.op("i64.eqz", q.get(bits))), () => {
    const mask = q.i64();
    q.set(mask, q.op("i64.shr_s", q.get(bits), q.long(63n)));
    const magnitude = q.op("i64.sub", q.op("i64.xor", q.get(bits), q.get(mask)), q.get(mask));
    q.set(value.significand, magnitude);
    const zeros = q.i64();
    q.set(zeros, q.op("i64.clz", q.get(value.significand)));
    q.set(value.significand, q.op("i64.shl", q.get(value.significand), q.get(zeros)));
    const exponent = q.op("i32.sub", q.int(BIAS + 63), q.op("i32.wrap_i64", q.get(zeros)));
    const sign = q.op("i32.and", q.op("i32.wrap_i64", q.get(mask)), q.int(SIGN_BIT));
    q.set(value.head, q.op("i32.or", exponent, sign));
  });
  return value;
}

/** A result before rounding: sign bit and exponent of the integer bit (i32), significand and what is below it (i64). */
export interface Wide {
  readonly sign: number;
  readonly exponent: number;
  readonly high: number;
  readonly low: number;
}

export const wide = (q: Quick): Wide => ({ sign: q.i32(), exponent: q.i32(), high: q.i64(), low: q.i64() });

/** A result with what its rounding says. */
export interface Rounded extends Extended {
  readonly inexact: number;
  readonly up: number;
}

/** Round to nearest; the slow way for what is no normal number. A zero is without a significand, and exact. */
export function roundNearest(q: Quick, { sign, exponent, high, low }: Wide): Rounded {
  const result = { head: q.i32(), significand: high, inexact: q.i32(), up: q.i32() };
  q.set(result.inexact, q.op("i64.ne", q.get(low), q.long(0n)));
  // Up if more than half, or half and odd.
  const odd = q.op("i64.or", q.op("i64.shl", q.get(low), q.long(1n)), q.op("i64.and", q.get(high), q.long(1n)));
  q.set(result.up, q.op("i32.and", q.op("i64.lt_s", q.get(low), q.long(0n)), q.op("i64.ne", odd, q.long(0n))));
  q.if(q.get(result.up), () => {
    q.set(high, q.op("i64.add", q.get(high), q.long(1n)));
    q.if(q.op("i64.eqz", q.get(high)), () => {
      q.set(high, q.long(INTEGER_BIT));
      q.set(exponent, q.op("i32.add", q.get(exponent), q.int(1)));
    });
  });
  q.if(
    q.op("i64.eqz", q.get(high)),
    () => q.set(result.head, q.get(sign)),
    () => {
      q.slowIf(q.op("i32.ge_u", q.op("i32.sub", q.get(exponent), q.int(1)), q.int(EXPONENT_MASK - 1)));
      q.set(result.head, q.op("i32.or", q.get(exponent), q.get(sign)));
    },
  );
  return result;
}

/** x + y, or x - y; both are normal numbers or zeros. */
export function sum(q: Quick, x: Extended, y: Extended, subtract: boolean): Wide {
  const out = wide(q);
  const [mx, my] = [q.i64(), q.i64()];
  const [ex, ey, sx, sy] = [q.i32(), q.i32(), q.i32(), q.i32()];
  const take = (from: Extended, exponent: number, significand: number): void => {
    q.set(exponent, q.exponent(from));
    q.set(significand, q.get(from.significand));
  };
  const signX = q.sign(x);
  const signY = subtract ? q.op("i32.xor", q.sign(y), q.int(SIGN_BIT)) : q.sign(y);
  // The larger first.
  const less = q.op(
    "i32.or",
    q.op("i32.lt_u", q.exponent(x), q.exponent(y)),
    q.op(
      "i32.and",
      q.op("i32.eq", q.exponent(x), q.exponent(y)),
      q.op("i64.lt_u", q.get(x.significand), q.get(y.significand)),
    ),
  );
  q.if(
    less,
    () => {
      take(y, ex, mx);
      take(x, ey, my);
      q.set(sx, signY);
      q.set(sy, signX);
    },
    () => {
      take(x, ex, mx);
      take(y, ey, my);
      q.set(sx, signX);
      q.set(sy, signY);
    },
  );
  const distance = q.i64();
  const below = q.i64();
  q.set(distance, q.op("i64.extend_i32_u", q.op("i32.sub", q.get(ex), q.get(ey))));
  q.set(below, q.long(0n));
  q.if(q.op("i32.eqz", q.op("i64.eqz", q.get(distance))), () => shiftRight(q, my, below, distance));
  q.set(out.exponent, q.get(ex));
  q.set(out.sign, q.get(sx));
  q.if(
    q.op("i32.eq", q.get(sx), q.get(sy)),
    () => {
      q.set(out.high, q.op("i64.add", q.get(mx), q.get(my)));
      q.set(out.low, q.get(below));
      q.if(q.op("i64.lt_u", q.get(out.high), q.get(mx)), () => {
        const carried = q.op(
          "i64.or",
          q.op("i64.shl", q.get(out.high), q.long(63n)),
          q.op("i64.shr_u", q.get(below), q.long(1n)),
        );
        q.set(out.low, q.op("i64.or", carried, q.op("i64.and", q.get(below), q.long(1n))));
        q.set(out.high, q.op("i64.or", q.op("i64.shr_u", q.get(out.high), q.long(1n)), q.long(INTEGER_BIT)));
        q.set(out.exponent, q.op("i32.add", q.get(ex), q.int(1)));
      });
    },
    () => {
      q.set(out.low, q.op("i64.sub", q.long(0n), q.get(below)));
      const borrow = q.op("i64.extend_i32_u", q.op("i64.ne", q.get(below), q.long(0n)));
      q.set(out.high, q.op("i64.sub", q.op("i64.sub", q.get(mx), q.get(my)), borrow));
      normalize(q, out);
    },
  );
  return out;
}

/** Shift a significand right by 1 or more, collecting what falls out; its last bit stands for all below. */
function shiftRight(q: Quick, significand: number, below: number, distance: number): void {
  const rest = q.op("i64.sub", q.long(64n), q.get(distance));
  q.if(
    q.op("i64.lt_u", q.get(distance), q.long(64n)),
    () => {
      q.set(below, q.op("i64.shl", q.get(significand), rest));
      q.set(significand, q.op("i64.shr_u", q.get(significand), q.get(distance)));
    },
    () => {
      q.set(below, q.get(significand));
      q.if(q.op("i64.gt_u", q.get(distance), q.long(64n)), () => {
        // Shift counts are modulo 64 here.
        const lost = q.op("i64.ne", q.op("i64.shl", q.get(significand), rest), q.long(0n));
        const near = q.op(
          "i64.or",
          q.op("i64.shr_u", q.get(significand), q.get(distance)),
          q.op("i64.extend_i32_u", lost),
        );
        const far = q.op("i64.extend_i32_u", q.op("i64.ne", q.get(significand), q.long(0n)));
        q.set(below, q.op("select", near, far, q.op("i64.lt_u", q.get(distance), q.long(128n))));
      });
      q.set(significand, q.long(0n));
    },
  );
}

/** Bring a difference's leading bit to the top. Without one it is a positive zero. */
function normalize(q: Quick, { sign, exponent, high, low }: Wide): void {
  q.if(q.op("i64.eqz", q.get(high)), () => {
    q.set(high, q.get(low));
    q.set(low, q.long(0n));
    q.set(exponent, q.op("i32.sub", q.get(exponent), q.int(64)));
  });
  q.if(
    q.op("i64.eqz", q.get(high)),
    () => q.set(sign, q.int(0)),
    () => {
      const zeros = q.i64();
      q.set(zeros, q.op("i64.clz", q.get(high)));
      q.if(q.op("i32.eqz", q.op("i64.eqz", q.get(zeros))), () => {
        const moved = q.op("i64.shr_u", q.get(low), q.op("i64.sub", q.long(64n), q.get(zeros)));
        q.set(high, q.op("i64.or", q.op("i64.shl", q.get(high), q.get(zeros)), moved));
        q.set(low, q.op("i64.shl", q.get(low), q.get(zeros)));
        q.set(exponent, q.op("i32.sub", q.get(exponent), q.op("i32.wrap_i64", q.get(zeros))));
      });
    },
  );
}

const LOW_HALF = 0xffff_ffffn;

/** x * y; both are normal numbers or zeros. */
export function product(q: Quick, x: Extended, y: Extended): Wide {
  const out = wide(q);
  q.set(out.sign, q.op("i32.xor", q.sign(x), q.sign(y)));
  q.set(out.high, q.long(0n));
  q.set(out.low, q.long(0n));
  const [a, b, c, d, middle] = [q.i64(), q.i64(), q.i64(), q.i64(), q.i64()];
  const lowHalf = (value: Push): Push => q.op("i64.and", value, q.long(LOW_HALF));
  const highHalf = (value: Push): Push => q.op("i64.shr_u", value, q.long(32n));
  q.set(a, lowHalf(q.get(x.significand)));
  q.set(b, highHalf(q.get(x.significand)));
  q.set(c, lowHalf(q.get(y.significand)));
  q.set(d, highHalf(q.get(y.significand)));
  const some = q.op(
    "i32.and",
    q.op("i64.ne", q.get(x.significand), q.long(0n)),
    q.op("i64.ne", q.get(y.significand), q.long(0n)),
  );
  q.if(some, () => {
    const [ac, ad, bc] = [q.i64(), q.i64(), q.i64()];
    q.set(ac, q.op("i64.mul", q.get(a), q.get(c)));
    q.set(ad, q.op("i64.mul", q.get(a), q.get(d)));
    q.set(bc, q.op("i64.mul", q.get(b), q.get(c)));
    q.set(middle, q.op("i64.add", q.op("i64.add", highHalf(q.get(ac)), lowHalf(q.get(ad))), lowHalf(q.get(bc))));
    q.set(out.low, q.op("i64.or", q.op("i64.shl", q.get(middle), q.long(32n)), lowHalf(q.get(ac))));
    const upper = q.op("i64.add", q.op("i64.mul", q.get(b), q.get(d)), highHalf(q.get(ad)));
    q.set(out.high, q.op("i64.add", q.op("i64.add", upper, highHalf(q.get(bc))), highHalf(q.get(middle))));
    q.set(out.exponent, q.op("i32.sub", q.op("i32.add", q.exponent(x), q.exponent(y)), q.int(BIAS - 1)));
    q.if(q.op("i64.ge_s", q.get(out.high), q.long(0n)), () => {
      const moved = q.op("i64.shr_u", q.get(out.low), q.long(63n));
      q.set(out.high, q.op("i64.or", q.op("i64.shl", q.get(out.high), q.long(1n)), moved));
      q.set(out.low, q.op("i64.shl", q.get(out.low), q.long(1n)));
      q.set(out.exponent, q.op("i32.sub", q.get(out.exponent), q.int(1)));
    });
  });
  return out;
}

/** x / y; both are normal numbers or zeros, a divisor of zero takes the slow way. */
export function quotient(q: Quick, x: Extended, y: Extended): Wide {
  const out = wide(q);
  q.slowIf(q.op("i64.eqz", q.get(y.significand)));
  q.set(out.sign, q.op("i32.xor", q.sign(x), q.sign(y)));
  q.set(out.high, q.long(0n));
  q.set(out.low, q.long(0n));
  const divisor = q.get(y.significand);
  q.if(q.op("i32.eqz", q.op("i64.eqz", q.get(x.significand))), () => {
    const [upper, lower, rest, digit] = [q.i64(), q.i64(), q.i64(), q.i64()];
    q.set(out.exponent, q.op("i32.add", q.op("i32.sub", q.exponent(x), q.exponent(y)), q.int(BIAS)));
    // The dividend is less than the divisor, so that the quotient has 64 bits, the first of them set.
    q.if(
      q.op("i64.lt_u", q.get(x.significand), divisor),
      () => {
        q.set(upper, q.get(x.significand));
        q.set(lower, q.long(0n));
        q.set(out.exponent, q.op("i32.sub", q.get(out.exponent), q.int(1)));
      },
      () => {
        q.set(upper, q.op("i64.shr_u", q.get(x.significand), q.long(1n)));
        q.set(lower, q.op("i64.shl", q.get(x.significand), q.long(63n)));
      },
    );
    divideStep(q, { upper, next: q.op("i64.shr_u", q.get(lower), q.long(32n)), divisor, digit, rest });
    q.set(out.high, q.op("i64.shl", q.get(digit), q.long(32n)));
    q.set(upper, q.get(rest));
    divideStep(q, { upper, next: q.op("i64.and", q.get(lower), q.long(LOW_HALF)), divisor, digit, rest });
    q.set(out.high, q.op("i64.or", q.get(out.high), q.get(digit)));
    // What is left against half the divisor: the first two bits below say it all.
    const other = q.op("i64.sub", divisor, q.get(rest));
    q.if(q.op("i32.eqz", q.op("i64.eqz", q.get(rest))), () => {
      q.set(out.low, q.op("select", q.long(1n << 62n), q.long(INTEGER_BIT), q.op("i64.lt_u", q.get(rest), other)));
      q.if(q.op("i64.gt_u", q.get(rest), other), () => q.set(out.low, q.long(INTEGER_BIT | 1n)));
    });
  });
  return out;
}

/** One step of a division by digits of 32 bits: `digit` and `rest` of `upper * 2^32 + next`. */
interface DivisionStep {
  readonly upper: number;
  readonly next: Push;
  readonly divisor: Push;
  readonly digit: number;
  readonly rest: number;
}

/** Knuth's algorithm D with a divisor whose top bit is set: the estimate is at most two too large. */
function divideStep(q: Quick, { upper, next, divisor, digit, rest }: DivisionStep): void {
  const [first, second, trial] = [q.i64(), q.i64(), q.i64()];
  q.set(first, q.op("i64.shr_u", divisor, q.long(32n)));
  q.set(second, q.op("i64.and", divisor, q.long(LOW_HALF)));
  q.set(digit, q.op("i64.div_u", q.get(upper), q.get(first)));
  q.set(trial, q.op("i64.sub", q.get(upper), q.op("i64.mul", q.get(digit), q.get(first))));
  for (let correction = 0; correction < 2; correction++) {
    const joined = q.op("i64.or", q.op("i64.shl", q.get(trial), q.long(32n)), next);
    const large = q.op(
      "i32.or",
      q.op("i64.gt_u", q.get(digit), q.long(LOW_HALF)),
      q.op("i64.gt_u", q.op("i64.mul", q.get(digit), q.get(second)), joined),
    );
    q.if(q.op("i32.and", q.op("i64.le_u", q.get(trial), q.long(LOW_HALF)), large), () => {
      q.set(digit, q.op("i64.sub", q.get(digit), q.long(1n)));
      q.set(trial, q.op("i64.add", q.get(trial), q.get(first)));
    });
  }
  const shifted = q.op("i64.add", q.op("i64.shl", q.get(upper), q.long(32n)), next);
  q.set(rest, q.op("i64.sub", shifted, q.op("i64.mul", q.get(digit), divisor)));
}

/** The largest digit of 32 bits. */
const DIGIT = 0xffff_ffffn;

/**
 * The square root of a positive normal number or a zero, by digits of 32 bits: the first from a double-precision root,
 * the second by a division (Zimmermann, "Karatsuba Square Root").
 */
export function squareRoot(q: Quick, x: Extended): Rounded {
  const result = { head: q.i32(), significand: q.i64(), inexact: q.i32(), up: q.i32() };
  const root = result.significand;
  q.set(root, q.long(0n));
  q.set(result.inexact, q.int(0));
  q.set(result.up, q.int(0));
  q.set(result.head, q.get(x.head));
  q.if(q.op("i32.eqz", q.op("i64.eqz", q.get(x.significand))), () => {
    q.slowIf(q.sign(x));
    const power = q.i32();
    const [high, low, first, rest, second] = [q.i64(), q.i64(), q.i64(), q.i64(), q.i64()];
    q.set(power, q.op("i32.sub", q.exponent(x), q.int(BIAS)));
    // The radicand has 127 or 128 bits, so that the root has 64.
    q.if(
      q.op("i32.and", q.get(power), q.int(1)),
      () => {
        q.set(high, q.get(x.significand));
        q.set(low, q.long(0n));
      },
      () => {
        q.set(high, q.op("i64.shr_u", q.get(x.significand), q.long(1n)));
        q.set(low, q.op("i64.shl", q.get(x.significand), q.long(63n)));
      },
    );
    q.set(result.head, q.op("i32.add", q.op("i32.shr_s", q.get(power), q.int(1)), q.int(BIAS)));

    const estimate = q.op("f64.sqrt", q.op("f64.convert_i64_u", q.get(high)));
    q.set(first, q.op("i64.trunc_sat_f64_u", estimate));
    q.if(q.op("i64.gt_u", q.get(first), q.long(DIGIT)), () => q.set(first, q.long(DIGIT)));
    const square = q.op("i64.mul", q.get(first), q.get(first));
    q.if(q.op("i64.gt_u", square, q.get(high)), () => q.set(first, q.op("i64.sub", q.get(first), q.long(1n))));
    q.set(rest, q.op("i64.sub", q.get(high), square));
    const doubled = q.op("i64.shl", q.get(first), q.long(1n));
    q.if(q.op("i64.gt_u", q.get(rest), doubled), () => {
      q.set(rest, q.op("i64.sub", q.op("i64.sub", q.get(rest), doubled), q.long(1n)));
      q.set(first, q.op("i64.add", q.get(first), q.long(1n)));
    });

    // (rest * 2^32 + next digit) / (2 * first), halved on both sides to stay within 64 bits.
    const dividend = q.i64();
    const halves = q.op("i64.shr_u", q.get(low), q.long(33n));
    q.set(dividend, q.op("i64.add", q.op("i64.shl", q.get(rest), q.long(31n)), halves));
    q.set(second, q.op("i64.div_u", q.get(dividend), q.get(first)));
    const left = q.op("i64.rem_u", q.get(dividend), q.get(first));
    const odd = q.op("i64.and", q.op("i64.shr_u", q.get(low), q.long(32n)), q.long(1n));
    q.set(rest, q.op("i64.or", q.op("i64.shl", left, q.long(1n)), odd));
    q.set(root, q.op("i64.add", q.op("i64.shl", q.get(first), q.long(32n)), q.get(second)));

    // rest * 2^32 + last digit - second^2, in two words.
    const [upper, lower, subtrahend] = [q.i64(), q.i64(), q.i64()];
    const last = q.op("i64.and", q.get(low), q.long(DIGIT));
    q.set(lower, q.op("i64.or", q.op("i64.shl", q.get(rest), q.long(32n)), last));
    q.set(subtrahend, q.op("i64.mul", q.get(second), q.get(second)));
    const carried = q.op(
      "i64.sub",
      q.op("i64.shr_u", q.get(rest), q.long(32n)),
      q.op("i64.shr_u", q.get(second), q.long(32n)),
    );
    const borrow = q.op("i64.extend_i32_u", q.op("i64.lt_u", q.get(lower), q.get(subtrahend)));
    q.set(upper, q.op("i64.sub", carried, borrow));
    q.set(lower, q.op("i64.sub", q.get(lower), q.get(subtrahend)));
    q.if(q.op("i64.lt_s", q.get(upper), q.long(0n)), () => {
      // One too large: add twice the root less one.
      q.set(root, q.op("i64.sub", q.get(root), q.long(1n)));
      const added = q.op("i64.or", q.op("i64.shl", q.get(root), q.long(1n)), q.long(1n));
      q.set(lower, q.op("i64.add", q.get(lower), added));
      const carry = q.op("i64.extend_i32_u", q.op("i64.lt_u", q.get(lower), added));
      q.set(upper, q.op("i64.add", q.op("i64.add", q.get(upper), q.op("i64.shr_u", q.get(root), q.long(63n))), carry));
    });
    q.set(result.inexact, q.op("i64.ne", q.op("i64.or", q.get(upper), q.get(lower)), q.long(0n)));
    q.set(
      result.up,
      q.op("i32.or", q.op("i64.ne", q.get(upper), q.long(0n)), q.op("i64.gt_u", q.get(lower), q.get(root))),
    );
    q.set(root, q.op("i64.add", q.get(root), q.op("i64.extend_i32_u", q.get(result.up))));
    // Rounding up to the next power of two.
    q.slowIf(q.op("i64.eqz", q.get(root)));
  });
  return result;
}

/** The bits of a real of memory from a normal number or zero, rounded to nearest; the slow way beyond its range. */
export function toReal(
  q: Quick,
  value: Extended,
  source: "m32" | "m64",
): { bits: number; inexact: number; up: number } {
  const { bits: width, fraction, bias } = LAYOUTS[source];
  const cut = BigInt(63 - fraction);
  const half = 1n << (cut - 1n);
  const largest = (1 << (width - 1 - fraction)) - 1;
  const [bits, rest, exponent] = [q.i64(), q.i64(), q.i64()];
  const [inexact, up] = [q.i32(), q.i32()];
  const sign = q.op(
    "i64.shl",
    q.op("i64.extend_i32_u", q.op("i32.shr_u", q.sign(value), q.int(15))),
    q.long(BigInt(width - 1)),
  );
  q.set(inexact, q.int(0));
  q.set(up, q.int(0));
  q.set(bits, q.long(0n));
  q.if(q.op("i32.eqz", q.op("i64.eqz", q.get(value.significand))), () => {
    q.set(exponent, q.op("i64.extend_i32_s", q.op("i32.sub", q.exponent(value), q.int(BIAS - bias))));
    q.slowIf(q.op("i64.ge_u", q.op("i64.sub", q.get(exponent), q.long(1n)), q.long(BigInt(largest - 1))));
    q.set(rest, q.op("i64.and", q.get(value.significand), q.long((1n << cut) - 1n)));
    q.set(bits, q.op("i64.shr_u", q.get(value.significand), q.long(cut)));
    q.set(inexact, q.op("i64.ne", q.get(rest), q.long(0n)));
    const odd = q.op("i32.wrap_i64", q.op("i64.and", q.get(bits), q.long(1n)));
    const tie = q.op("i32.and", q.op("i64.eq", q.get(rest), q.long(half)), odd);
    q.set(up, q.op("i32.or", q.op("i64.gt_u", q.get(rest), q.long(half)), tie));
    // The integer bit adds one to the exponent, and so does the carry of rounding.
    const below = q.op("i64.shl", q.op("i64.sub", q.get(exponent), q.long(1n)), q.long(BigInt(fraction)));
    q.set(bits, q.op("i64.add", q.op("i64.add", q.get(bits), below), q.op("i64.extend_i32_u", q.get(up))));
    q.slowIf(q.op("i64.ge_u", q.get(bits), q.long(BigInt(largest) << BigInt(fraction))));
  });
  q.set(bits, q.op("i64.or", q.get(bits), sign));
  return { bits, inexact, up };
}

/**
 * The value as an integer of two's complement, rounded as the control word says or cut; the slow way if it does not fit.
 *
 * @param truncate pushes an i32: cut
 */
export function toInteger(
  q: Quick,
  value: Extended,
  size: 16 | 32 | 64,
  truncate: Push,
): { bits: number; inexact: number; up: number } {
  const [whole, rest, distance] = [q.i64(), q.i64(), q.i64()];
  const [inexact, up, negative] = [q.i32(), q.i32(), q.i32()];
  q.set(negative, q.op("i32.shr_u", q.sign(value), q.int(15)));
  q.set(distance, q.op("i64.extend_i32_s", q.op("i32.sub", q.int(BIAS + 63), q.exponent(value))));
  // 2^63 and more.
  q.slowIf(q.op("i64.le_s", q.get(distance), q.long(0n)));
  q.set(whole, q.get(value.significand));
  shiftRight(q, whole, rest, distance);
  q.set(inexact, q.op("i64.ne", q.get(rest), q.long(0n)));
  const nearest = q.op(
    "i32.and",
    q.op("i64.lt_s", q.get(rest), q.long(0n)),
    q.op(
      "i64.ne",
      q.op("i64.or", q.op("i64.shl", q.get(rest), q.long(1n)), q.op("i64.and", q.get(whole), q.long(1n))),
      q.long(0n),
    ),
  );
  const down = q.op("i32.and", q.get(inexact), q.get(negative));
  const upward = q.op("i32.and", q.get(inexact), q.op("i32.eqz", q.get(negative)));
  const is = (mode: bigint): Push => q.op("i64.eq", q.rounding(), q.long(mode << 10n));
  q.set(up, q.int(0));
  q.if(q.op("i32.eqz", truncate), () => {
    q.if(is(0n), () => q.set(up, nearest));
    q.if(is(1n), () => q.set(up, down));
    q.if(is(2n), () => q.set(up, upward));
  });
  q.set(whole, q.op("i64.add", q.get(whole), q.op("i64.extend_i32_u", q.get(up))));
  const limit = q.op("i64.add", q.long((1n << BigInt(size - 1)) - 1n), q.op("i64.extend_i32_u", q.get(negative)));
  q.slowIf(q.op("i64.gt_u", q.get(whole), limit));
  const minus = q.op("i64.sub", q.long(0n), q.op("i64.extend_i32_u", q.get(negative)));
  const bits = q.i64();
  q.set(bits, q.op("i64.sub", q.op("i64.xor", q.get(whole), minus), minus));
  return { bits, inexact, up };
}
