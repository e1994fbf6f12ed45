import type { UopDefinition, UopEmitter, UopValues } from "./definition.js";
import {
  bit,
  carryOf,
  emitCarry,
  emitFlags,
  emitResult,
  emitSignExtend,
  emitZeroExtend,
  mask,
  signExtend,
  SIZES,
  zeroExtend,
  type Size,
} from "./parts.js";

/**
 * Counts are masked here as the processor does it (to 6 bits for 64-bit operands, otherwise to 5), and a masked count of
 * zero leaves all flags alone. Flags that the manual leaves undefined: AF reads 0; OF of other counts than 1 is computed
 * as for 1.
 */
const rows: UopDefinition[] = [];

interface Outcome {
  readonly result: bigint;
  readonly cf: bigint;
  readonly of: bigint;
}

interface Shift {
  readonly name: "shl" | "shr" | "sar" | "rol" | "ror" | "rcl" | "rcr";
  /** Rotates leave SF, ZF, PF and AF alone. */
  readonly rotate: boolean;
  /** From the masked count, which is not zero, in local `n` and the operand in local `a`: set `result`, push CF (0, 1) as i64. */
  wasm(e: UopEmitter, size: Size, a: number, n: number, result: number): void;
  /** Push bit 62 of the second flag word at bit 0, CF XOR OF, from locals. */
  carryIn(e: UopEmitter, size: Size, a: number, result: number, cf: number): void;
  evaluate(size: Size, a: bigint, n: bigint, cf: bigint): Outcome;
}

const push = (e: UopEmitter, local: number, shift: bigint | (() => void), op: "i64.shl" | "i64.shr_u"): void => {
  e.w.get(local);
  if (typeof shift === "bigint") e.w.i64(shift);
  else shift();
  e.w.op(op);
};

/** Push bit `at` of a local. */
const pushBit = (e: UopEmitter, local: number, at: number): void => {
  e.w.get(local);
  e.w.i64(BigInt(at));
  e.w.op("i64.shr_u");
  e.w.i64(1n);
  e.w.op("i64.and");
};

/** Push `constant - n`. */
const minus = (e: UopEmitter, constant: number, n: number): void => {
  e.w.i64(BigInt(constant));
  e.w.get(n);
  e.w.op("i64.sub");
};

const msb = (size: Size, value: bigint): bigint => bit(value, size - 1);

const extendInto = (e: UopEmitter, size: Size, a: number, sign: boolean): void => {
  e.w.get(a);
  if (sign) emitSignExtend(e, size);
  else emitZeroExtend(e, size);
  e.w.set(a);
};

/** Rotate `width` bits of local `x` by `n` (0 to width - 1) to the left, or right: set `result`, not cut to size. */
function rotateBits(e: UopEmitter, width: number, x: number, n: number, result: number, left: boolean): void {
  const [forward, back] = left ? (["i64.shl", "i64.shr_u"] as const) : (["i64.shr_u", "i64.shl"] as const);
  push(e, x, () => e.w.get(n), forward);
  push(e, x, () => minus(e, width, n), back);
  e.w.op("i64.or");
  e.w.set(result);
}

function rotate(e: UopEmitter, size: Size, a: number, n: number, result: number, left: boolean): void {
  const { w } = e;
  if (size === 64) {
    w.get(a);
    w.get(n);
    w.op(left ? "i64.rotl" : "i64.rotr");
    w.set(result);
  } else {
    extendInto(e, size, a, false);
    w.get(n);
    w.i64(BigInt(size - 1));
    w.op("i64.and");
    w.set(n);
    rotateBits(e, size, a, n, result, left);
    extendInto(e, size, result, false);
  }
}

function rotateThroughCarry(e: UopEmitter, size: Size, a: number, n: number, result: number, left: boolean): void {
  const { w } = e;
  const carry = e.i64(5);
  emitCarry(e);
  w.set(carry);
  if (size === 64) {
    // 65 bits: the carry comes in beside the operand's own bits, which skip one place.
    const [forward, back] = left ? (["i64.shl", "i64.shr_u"] as const) : (["i64.shr_u", "i64.shl"] as const);
    push(e, a, () => w.get(n), forward);
    w.get(carry);
    if (left) {
      w.get(n);
      w.i64(1n);
      w.op("i64.sub");
    } else minus(e, 64, n);
    w.op("i64.shl", "i64.or");
    w.get(a);
    w.i64(1n);
    w.op(back);
    minus(e, 64, n);
    w.op(back, "i64.or");
    w.set(result);
    w.get(a);
    if (left) minus(e, 64, n);
    else {
      w.get(n);
      w.i64(1n);
      w.op("i64.sub");
    }
    w.op("i64.shr_u");
    w.i64(1n);
    w.op("i64.and");
    return;
  }
  extendInto(e, size, a, false);
  w.get(a);
  push(e, carry, BigInt(size), "i64.shl");
  w.op("i64.or");
  w.set(a);
  if (size < 32) {
    w.get(n);
    w.i64(BigInt(size + 1));
    w.op("i64.rem_u");
    w.set(n);
  }
  rotateBits(e, size + 1, a, n, result, left);
  pushBit(e, result, size);
  extendInto(e, size, result, false);
}

/** Reference of RCL and RCR: a rotation of size + 1 bits. */
function throughCarry(size: Size, a: bigint, count: bigint, cf: bigint, left: boolean): { result: bigint; cf: bigint } {
  const width = BigInt(size + 1);
  const n = left ? count % width : (width - (count % width)) % width;
  const x = zeroExtend(size, a) | (cf << BigInt(size));
  const y = ((x << n) | (x >> (width - n))) & mask(size + 1);
  return { result: zeroExtend(size, y), cf: bit(y, size) };
}

const SHIFTS_DEFINED: readonly Shift[] = [
  {
    name: "shl",
    rotate: false,
    wasm: (e, size, a, n, result) => {
      extendInto(e, size, a, false);
      push(e, a, () => e.w.get(n), "i64.shl");
      e.w.set(result);
      if (size === 64) push(e, a, () => minus(e, 64, n), "i64.shr_u");
      else push(e, result, BigInt(size), "i64.shr_u");
      e.w.i64(1n);
      e.w.op("i64.and");
    },
    carryIn: (e, size, _a, result) => pushBit(e, result, size - 1),
    evaluate: (size, a, n) => {
      const wide = zeroExtend(size, a) << n;
      const [cf, result] = [bit(wide, size), zeroExtend(size, wide)];
      return { result, cf, of: msb(size, result) ^ cf };
    },
  },
  {
    name: "shr",
    rotate: false,
    wasm: (e, size, a, n, result) => shiftRight(e, size, a, n, result, false),
    carryIn: (e, size, a, _result, cf) => {
      pushBit(e, a, size - 1);
      e.w.get(cf);
      e.w.op("i64.xor");
    },
    evaluate: (size, a, n) => {
      const x = zeroExtend(size, a);
      return { result: x >> n, cf: (x >> (n - 1n)) & 1n, of: msb(size, x) };
    },
  },
  {
    name: "sar",
    rotate: false,
    wasm: (e, size, a, n, result) => shiftRight(e, size, a, n, result, true),
    carryIn: (e, _size, _a, _result, cf) => e.w.get(cf),
    evaluate: (size, a, n) => {
      const x = BigInt.asIntN(size, a);
      return { result: zeroExtend(size, x >> n), cf: (x >> (n - 1n)) & 1n, of: 0n };
    },
  },
  {
    name: "rol",
    rotate: true,
    wasm: (e, size, a, n, result) => {
      rotate(e, size, a, n, result, true);
      pushBit(e, result, 0);
    },
    carryIn: (e, size, _a, result) => pushBit(e, result, size - 1),
    evaluate: (size, a, count) => {
      const n = count % BigInt(size);
      const x = zeroExtend(size, a);
      const result = zeroExtend(size, (x << n) | (x >> (BigInt(size) - n)));
      return { result, cf: result & 1n, of: (result & 1n) ^ msb(size, result) };
    },
  },
  {
    name: "ror",
    rotate: true,
    wasm: (e, size, a, n, result) => {
      rotate(e, size, a, n, result, false);
      pushBit(e, result, size - 1);
    },
    carryIn: (e, size, _a, result) => pushBit(e, result, size - 2),
    evaluate: (size, a, count) => {
      const n = count % BigInt(size);
      const x = zeroExtend(size, a);
      const result = zeroExtend(size, (x >> n) | (x << (BigInt(size) - n)));
      return { result, cf: msb(size, result), of: msb(size, result) ^ bit(result, size - 2) };
    },
  },
  {
    name: "rcl",
    rotate: true,
    wasm: (e, size, a, n, result) => rotateThroughCarry(e, size, a, n, result, true),
    carryIn: (e, size, _a, result) => pushBit(e, result, size - 1),
    evaluate: (size, a, n, carry) => {
      const { result, cf } = throughCarry(size, a, n, carry, true);
      return { result, cf, of: cf ^ msb(size, result) };
    },
  },
  {
    name: "rcr",
    rotate: true,
    wasm: (e, size, a, n, result) => rotateThroughCarry(e, size, a, n, result, false),
    carryIn: (e, size, _a, result, cf) => {
      pushBit(e, result, size - 1);
      pushBit(e, result, size - 2);
      e.w.get(cf);
      e.w.op("i64.xor", "i64.xor");
    },
    evaluate: (size, a, n, carry) => {
      const { result, cf } = throughCarry(size, a, n, carry, false);
      return { result, cf, of: msb(size, result) ^ bit(result, size - 2) };
    },
  },
];

function shiftRight(e: UopEmitter, size: Size, a: number, n: number, result: number, arithmetic: boolean): void {
  const { w } = e;
  const op = arithmetic ? "i64.shr_s" : "i64.shr_u";
  extendInto(e, size, a, arithmetic);
  w.get(a);
  w.get(n);
  w.op(op);
  w.set(result);
  w.get(a);
  w.get(n);
  w.i64(1n);
  w.op("i64.sub", op);
  w.i64(1n);
  w.op("i64.and");
}

const countMask = (size: Size): bigint => (size === 64 ? 63n : 31n);

/** Write flags after a shift whose CF is in local `cf`; push order of the second word is bits 63, 62, the rest. */
function emitShiftFlags(
  e: UopEmitter,
  size: Size,
  cf: number,
  result: number,
  keep: boolean,
  carryIn: () => void,
): void {
  const { w } = e;
  const aux = (): void => {
    push(e, cf, 63n, "i64.shl");
    carryIn();
    w.i64(62n);
    w.op("i64.shl", "i64.or");
    if (!keep) return;
    e.get("flagAux");
    w.i64((1n << 62n) - 1n);
    w.op("i64.and", "i64.or");
  };
  if (keep) e.set("flagAux", aux);
  else emitFlags(e, size, result, aux);
}

function setShiftFlags(v: UopValues, size: Size, { result, cf, of }: Outcome, keep: boolean): void {
  const top = (cf << 63n) | ((cf ^ of) << 62n);
  if (keep) {
    v.set("flagAux", top | (v.get("flagAux") & ((1n << 62n) - 1n)));
  } else {
    v.set("flagResult", signExtend(size, result));
    v.set("flagAux", top);
  }
}

function shift(definition: Shift, size: Size, immediate: boolean): void {
  const { name } = definition;
  const base = `${name}${immediate ? "i" : ""}${size}`;
  const sources = immediate ? (["a", "imm"] as const) : (["a", "b"] as const);
  const throughFlags = name === "rcl" || name === "rcr";
  const loadCount = (e: UopEmitter, n: number): void => {
    if (immediate) e.imm();
    else e.b();
    e.w.i64(countMask(size));
    e.w.op("i64.and");
    e.w.set(n);
  };
  const countOf = (v: UopValues): bigint => (immediate ? v.imm() : v.b()) & countMask(size);
  for (const flags of [true, false]) {
    rows.push({
      name: flags ? base : `${base}nf`,
      summary: `d = a ${name} ${immediate ? "imm" : "b"}, ${size}-bit${flags ? "; flags unless the masked count is 0" : ""}`,
      operands: ["d", ...sources],
      ...(flags ? { writesFlags: true, flagless: `${base}nf` } : {}),
      // A count of zero, or a rotate, lets earlier flags through.
      ...(flags || throughFlags ? { readsFlags: true } : {}),
      ...(throughFlags ? { outlined: true } : {}),
      wasm: (e) => {
        const { w } = e;
        const [a, n, result, cf] = [e.i64(0), e.i64(1), e.i64(2), e.i64(3)];
        e.a();
        w.set(a);
        loadCount(e, n);
        w.get(n);
        w.op("i64.eqz");
        w.if(
          () => emitResult(e, size, a),
          () => {
            definition.wasm(e, size, a, n, result);
            if (!flags) {
              w.op("drop");
              emitResult(e, size, result);
              return;
            }
            w.set(cf);
            emitResult(e, size, result);
            emitShiftFlags(e, size, cf, result, definition.rotate, () => definition.carryIn(e, size, a, result, cf));
          },
        );
      },
      evaluate: (v) => {
        const [a, n] = [v.a(), countOf(v)];
        if (n === 0n) {
          v.setD(zeroExtend(size, a));
          return;
        }
        const outcome = definition.evaluate(size, a, n, carryOf(v));
        v.setD(zeroExtend(size, outcome.result));
        if (flags) setShiftFlags(v, size, outcome, definition.rotate);
      },
    });
  }
}

/** SHLD and SHRD: the operand in `d` moves, bits of `a` come in. */
function double(name: "shld" | "shrd", size: 16 | 32 | 64): void {
  const left = name === "shld";
  rows.push({
    name: `${name}${size}`,
    summary: `d = d shifted ${left ? "left" : "right"} by b with the bits of a shifted in, ${size}-bit; flags unless the masked count is 0`,
    operands: ["d", "a", "b"],
    writesFlags: true,
    readsFlags: true,
    wasm: (e) => {
      const { w } = e;
      const [x, y, n, result, cf] = [e.i64(0), e.i64(1), e.i64(2), e.i64(3), e.i64(4)];
      e.d();
      emitZeroExtend(e, size);
      w.set(x);
      e.a();
      emitZeroExtend(e, size);
      w.set(y);
      e.b();
      w.i64(countMask(size));
      w.op("i64.and");
      w.set(n);
      w.get(n);
      w.op("i64.eqz");
      w.if(
        () => emitResult(e, size, x),
        () => {
          if (size === 16) {
            // A count past 16 goes on with the bits of the operand itself: 48 bits d, a, d.
            const wide = e.i64(5);
            push(e, x, 32n, "i64.shl");
            push(e, y, 16n, "i64.shl");
            w.op("i64.or");
            w.get(x);
            w.op("i64.or");
            w.set(wide);
            push(e, wide, left ? () => minus(e, 32, n) : () => w.get(n), "i64.shr_u");
            w.set(result);
            push(e, wide, left ? () => minus(e, 48, n) : () => less1(e, n), "i64.shr_u");
          } else {
            // Two shifts of which the second is never by the full width: counts are 1 to size - 1.
            push(e, x, () => w.get(n), left ? "i64.shl" : "i64.shr_u");
            push(e, y, () => minus(e, size, n), left ? "i64.shr_u" : "i64.shl");
            w.op("i64.or");
            w.set(result);
            push(e, x, left ? () => minus(e, size, n) : () => less1(e, n), "i64.shr_u");
          }
          w.i64(1n);
          w.op("i64.and");
          w.set(cf);
          emitResult(e, size, result);
          // OF: the sign has changed.
          emitShiftFlags(e, size, cf, result, false, () => {
            pushBit(e, result, size - 1);
            pushBit(e, x, size - 1);
            w.get(cf);
            w.op("i64.xor", "i64.xor");
          });
        },
      );
    },
    evaluate: (v) => {
      const width = BigInt(size);
      const [x, y, n] = [zeroExtend(size, v.d()), zeroExtend(size, v.a()), v.b() & countMask(size)];
      if (n === 0n) {
        v.setD(x);
        return;
      }
      const wide = (x << (2n * width)) | (y << width) | x;
      const result = zeroExtend(size, left ? wide >> (2n * width - n) : wide >> n);
      const cf = left ? (wide >> (3n * width - n)) & 1n : (wide >> (n - 1n)) & 1n;
      v.setD(result);
      setShiftFlags(v, size, { result, cf, of: msb(size, result) ^ msb(size, x) }, false);
    },
  });
}

const less1 = (e: UopEmitter, n: number): void => {
  e.w.get(n);
  e.w.i64(1n);
  e.w.op("i64.sub");
};

for (const size of SIZES) {
  for (const definition of SHIFTS_DEFINED) {
    shift(definition, size, false);
    shift(definition, size, true);
  }
  if (size !== 8) {
    double("shld", size);
    double("shrd", size);
  }
}

/** SHL, SHR, SAR, ROL, ROR, RCL, RCR, SHLD, SHRD. */
export const SHIFTS: readonly UopDefinition[] = rows;
