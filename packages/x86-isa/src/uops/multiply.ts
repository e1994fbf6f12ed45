import { GuestException } from "../environment.js";
import type { UopDefinition, UopEmitter } from "./definition.js";
import { emitFlags, emitResult, emitZeroExtend, setFlags, SIZES, u64, zeroExtend } from "./parts.js";

const DIVIDE_ERROR = 0;

const rows: UopDefinition[] = [];

/** Set local `high` to the upper 64 bits of the unsigned product of locals `x` and `y`. */
function emitHighUnsigned(e: UopEmitter, x: number, y: number, high: number): void {
  const { w } = e;
  const [middle, low, other] = [e.i64(10), e.i64(11), e.i64(12)];
  const half = (local: number, upper: boolean): void => {
    w.get(local);
    w.i64(upper ? 32n : 0xffff_ffffn);
    w.op(upper ? "i64.shr_u" : "i64.and");
  };
  const product = (upperX: boolean, upperY: boolean): void => {
    half(x, upperX);
    half(y, upperY);
    w.op("i64.mul");
  };
  const shiftDown = (local: number): void => half(local, true);
  product(false, false);
  w.set(low);
  product(true, false);
  shiftDown(low);
  w.op("i64.add");
  w.set(middle);
  product(false, true);
  half(middle, false);
  w.op("i64.add");
  w.set(other);
  product(true, true);
  shiftDown(middle);
  w.op("i64.add");
  shiftDown(other);
  w.op("i64.add");
  w.set(high);
}

for (const signed of [false, true]) {
  rows.push({
    name: signed ? "mulhs64" : "mulhu64",
    summary: `d = upper 64 bits of the ${signed ? "signed" : "unsigned"} product of a and b`,
    operands: ["d", "a", "b"],
    wasm: (e) => {
      const { w } = e;
      const [x, y, high] = [e.i64(0), e.i64(1), e.i64(2)];
      e.a();
      w.set(x);
      e.b();
      w.set(y);
      emitHighUnsigned(e, x, y, high);
      e.setD(() => {
        w.get(high);
        if (!signed) return;
        // A negative factor counts 2^64 too much as an unsigned one.
        for (const [negative, other] of [
          [x, y],
          [y, x],
        ] as const) {
          w.get(negative);
          w.i64(63n);
          w.op("i64.shr_s");
          w.get(other);
          w.op("i64.and", "i64.sub");
        }
      });
    },
    evaluate: (v) => {
      const factor = (value: bigint): bigint => (signed ? BigInt.asIntN(64, value) : value);
      v.setD(u64((factor(v.a()) * factor(v.b())) >> 64n));
    },
  });
}

for (const immediate of [false, true]) {
  const sources = immediate ? (["a", "imm"] as const) : (["a", "b"] as const);
  rows.push({
    name: immediate ? "muli64nf" : "mul64nf",
    summary: `d = low 64 bits of a * ${immediate ? "imm" : "b"}`,
    operands: ["d", ...sources],
    wasm: (e) =>
      e.setD(() => {
        e.a();
        if (immediate) e.imm();
        else e.b();
        e.w.op("i64.mul");
      }),
    evaluate: (v) => v.setD(u64(v.a() * (immediate ? v.imm() : v.b()))),
  });
  for (const size of SIZES) {
    const base = `imul${immediate ? "i" : ""}${size}`;
    rows.push(
      {
        name: base,
        summary: `d = a * ${immediate ? "imm" : "b"}, signed, cut to ${size} bits; CF and OF if that loses bits, SF, ZF and PF from the result`,
        operands: ["d", ...sources],
        writesFlags: true,
        flagless: `${base}nf`,
        wasm: (e) => {
          const { w } = e;
          const [x, y, result, high] = [e.i64(0), e.i64(1), e.i64(2), e.i64(3)];
          const signExtended = (push: () => void): void => {
            push();
            if (size === 64) return;
            w.i64(BigInt(64 - size));
            w.op("i64.shl");
            w.i64(BigInt(64 - size));
            w.op("i64.shr_s");
          };
          signExtended(() => e.a());
          w.set(x);
          signExtended(() => (immediate ? e.imm() : e.b()));
          w.set(y);
          w.get(x);
          w.get(y);
          w.op("i64.mul");
          w.set(result);
          const overflow = e.i64(4);
          if (size === 64) {
            emitHighUnsigned(e, x, y, high);
            w.get(high);
            for (const [negative, other] of [
              [x, y],
              [y, x],
            ] as const) {
              w.get(negative);
              w.i64(63n);
              w.op("i64.shr_s");
              w.get(other);
              w.op("i64.and", "i64.sub");
            }
            w.get(result);
            w.i64(63n);
            w.op("i64.shr_s", "i64.ne");
          } else {
            signExtended(() => w.get(result));
            w.get(result);
            w.op("i64.ne");
          }
          w.op("i64.extend_i32_u");
          w.set(overflow);
          emitResult(e, size, result);
          emitFlags(e, size, result, () => {
            w.get(overflow);
            w.i64(63n);
            w.op("i64.shl");
          });
        },
        evaluate: (v) => {
          const product = BigInt.asIntN(size, v.a()) * BigInt.asIntN(size, immediate ? v.imm() : v.b());
          const lost = product === BigInt.asIntN(size, product) ? 0n : 1n;
          v.setD(zeroExtend(size, product));
          setFlags(v, size, product, { cf: lost, of: lost, af: 0n });
        },
      },
      {
        name: `${base}nf`,
        summary: `d = a * ${immediate ? "imm" : "b"}, cut to ${size} bits`,
        operands: ["d", ...sources],
        wasm: (e) =>
          e.setD(() => {
            e.a();
            if (immediate) e.imm();
            else e.b();
            e.w.op("i64.mul");
            emitZeroExtend(e, size);
          }),
        evaluate: (v) => v.setD(zeroExtend(size, v.a() * (immediate ? v.imm() : v.b()))),
      },
    );
  }
}

rows.push({
  name: "mulflags",
  summary: "flags of a product: CF and OF if b is not 0; SF, ZF and PF of a, 64-bit",
  operands: ["a", "b"],
  writesFlags: true,
  wasm: (e) => {
    e.set("flagResult", () => e.a());
    e.set("flagAux", () => {
      e.b();
      e.w.i64(0n);
      e.w.op("i64.ne", "i64.extend_i32_u");
      e.w.i64(63n);
      e.w.op("i64.shl");
    });
  },
  evaluate: (v) => {
    const lost = v.b() === 0n ? 0n : 1n;
    setFlags(v, 64, v.a(), { cf: lost, of: lost, af: 0n });
  },
});

/** Negate local `x` where local `sign` is -1; leave it where that is 0. */
function negateIf(e: UopEmitter, x: number, sign: number): void {
  e.w.get(x);
  e.w.get(sign);
  e.w.op("i64.xor");
  e.w.get(sign);
  e.w.op("i64.sub");
  e.w.set(x);
}

/** Divide the 128 bits d:a by b; #DE for a divisor of zero and for a quotient past 64 bits. */
function emitDivide128(e: UopEmitter, signed: boolean, remainder: boolean): void {
  const { w } = e;
  const [low, high, divisor, sign, quotientSign] = [e.i64(0), e.i64(1), e.i64(2), e.i64(3), e.i64(4)];
  const [top, count] = [e.i64(5), e.i32(0)];
  const signOf = (push: () => void): void => {
    push();
    w.i64(63n);
    w.op("i64.shr_s");
  };
  e.a();
  w.set(low);
  e.d();
  w.set(high);
  e.b();
  w.set(divisor);
  if (signed) {
    signOf(() => w.get(high));
    w.set(sign);
    signOf(() => w.get(divisor));
    w.set(quotientSign);
    negateIf(e, divisor, quotientSign);
    w.get(quotientSign);
    w.get(sign);
    w.op("i64.xor");
    w.set(quotientSign);
    // |d:a|: invert both halves, add one.
    negateIf(e, low, sign);
    w.get(high);
    w.get(sign);
    w.op("i64.xor");
    w.get(low);
    w.op("i64.eqz", "i64.extend_i32_u");
    w.get(sign);
    w.op("i64.and", "i64.add");
    w.set(high);
  }
  // Covers a divisor of zero.
  w.get(high);
  w.get(divisor);
  w.op("i64.ge_u");
  w.if(() => e.raise(DIVIDE_ERROR));
  w.get(high);
  w.op("i64.eqz");
  w.if(
    () => {
      w.get(low);
      w.get(divisor);
      w.op("i64.rem_u");
      w.set(high);
      w.get(low);
      w.get(divisor);
      w.op("i64.div_u");
      w.set(low);
    },
    () => {
      w.i32(64);
      w.set(count);
      w.loop((again) => {
        w.get(high);
        w.set(top);
        w.get(high);
        w.i64(1n);
        w.op("i64.shl");
        w.get(low);
        w.i64(63n);
        w.op("i64.shr_u", "i64.or");
        w.set(high);
        w.get(low);
        w.i64(1n);
        w.op("i64.shl");
        w.set(low);
        w.get(top);
        w.i64(0n);
        w.op("i64.lt_s");
        w.get(high);
        w.get(divisor);
        w.op("i64.ge_u", "i32.or");
        w.if(() => {
          w.get(high);
          w.get(divisor);
          w.op("i64.sub");
          w.set(high);
          w.get(low);
          w.i64(1n);
          w.op("i64.or");
          w.set(low);
        });
        w.get(count);
        w.i32(1);
        w.op("i32.sub");
        w.tee(count);
        w.brIf(again);
      });
    },
  );
  if (signed) {
    // The magnitude may be 2^63 for a negative quotient alone.
    w.get(low);
    w.i64((1n << 63n) - 1n);
    w.get(quotientSign);
    w.op("i64.sub", "i64.gt_u");
    w.if(() => e.raise(DIVIDE_ERROR));
    negateIf(e, low, quotientSign);
    negateIf(e, high, sign);
  }
  e.setD(() => w.get(remainder ? high : low));
}

function divide128(
  high: bigint,
  low: bigint,
  divisor: bigint,
  signed: boolean,
): { quotient: bigint; remainder: bigint } {
  if (divisor === 0n) throw new GuestException(DIVIDE_ERROR);
  const cut = (bits: number, value: bigint): bigint => (signed ? BigInt.asIntN(bits, value) : value);
  const dividend = cut(128, (high << 64n) | low);
  const y = cut(64, divisor);
  const quotient = dividend / y;
  if (quotient !== (signed ? BigInt.asIntN(64, quotient) : u64(quotient))) throw new GuestException(DIVIDE_ERROR);
  return { quotient: u64(quotient), remainder: u64(dividend % y) };
}

for (const signed of [false, true]) {
  const letter = signed ? "s" : "u";
  const kind = signed ? "signed" : "unsigned";
  for (const what of ["quotient", "remainder"] as const) {
    const stem = what === "quotient" ? "div" : "rem";
    rows.push({
      name: `${stem}128${letter}`,
      summary: `d = ${kind} ${what} of the 128 bits d:a by b; #DE if b is 0 or the quotient does not fit 64 bits`,
      operands: ["d", "a", "b"],
      faults: true,
      outlined: true,
      wasm: (e) => emitDivide128(e, signed, what === "remainder"),
      evaluate: (v) => v.setD(divide128(v.d(), v.a(), v.b(), signed)[what]),
    });
  }
  rows.push(
    {
      name: `div64${letter}`,
      summary: `d = ${kind} quotient of a by b; #DE if b is 0 or it does not fit imm bits`,
      operands: ["d", "a", "b", "imm"],
      faults: true,
      wasm: (e) => {
        const { w } = e;
        const [x, y, q, width] = [e.i64(0), e.i64(1), e.i64(2), e.i64(3)];
        e.a();
        w.set(x);
        e.b();
        w.tee(y);
        w.op("i64.eqz");
        if (signed) {
          w.get(x);
          w.i64(-(1n << 63n));
          w.op("i64.eq");
          w.get(y);
          w.i64(-1n);
          w.op("i64.eq", "i32.and", "i32.or");
        }
        w.if(() => e.raise(DIVIDE_ERROR));
        w.get(x);
        w.get(y);
        w.op(signed ? "i64.div_s" : "i64.div_u");
        w.set(q);
        w.i64(64n);
        e.imm();
        w.op("i64.sub");
        w.set(width);
        w.get(q);
        w.get(width);
        w.op("i64.shl");
        w.get(width);
        w.op(signed ? "i64.shr_s" : "i64.shr_u");
        w.get(q);
        w.op("i64.ne");
        w.if(() => e.raise(DIVIDE_ERROR));
        e.setD(() => w.get(q));
      },
      evaluate: (v) => {
        const cut = (value: bigint): bigint => (signed ? BigInt.asIntN(64, value) : value);
        const [x, y, width] = [cut(v.a()), cut(v.b()), Number(v.imm())];
        if (y === 0n) throw new GuestException(DIVIDE_ERROR);
        const quotient = x / y;
        const fits = signed ? BigInt.asIntN(width, quotient) : BigInt.asUintN(width, quotient);
        if (fits !== quotient) throw new GuestException(DIVIDE_ERROR);
        v.setD(u64(quotient));
      },
    },
    {
      name: `rem64${letter}`,
      summary: `d = ${kind} remainder of a by b; #DE if b is 0`,
      operands: ["d", "a", "b"],
      faults: true,
      wasm: (e) => {
        const { w } = e;
        const y = e.i64(0);
        e.b();
        w.tee(y);
        w.op("i64.eqz");
        w.if(() => e.raise(DIVIDE_ERROR));
        e.setD(() => {
          e.a();
          w.get(y);
          w.op(signed ? "i64.rem_s" : "i64.rem_u");
        });
      },
      evaluate: (v) => {
        const cut = (value: bigint): bigint => (signed ? BigInt.asIntN(64, value) : value);
        if (v.b() === 0n) throw new GuestException(DIVIDE_ERROR);
        v.setD(u64(cut(v.a()) % cut(v.b())));
      },
    },
  );
}

/** Products, quotients, remainders. */
export const MULTIPLY: readonly UopDefinition[] = rows;
