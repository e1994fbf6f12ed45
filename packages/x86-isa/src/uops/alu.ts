import type { UopDefinition, UopEmitter, UopValues } from "./definition.js";
import {
  bit,
  carryOf,
  emitCarry,
  emitFlags,
  emitResult,
  emitZeroExtend,
  setFlags,
  SIZES,
  zeroExtend,
  type Size,
} from "./parts.js";

/**
 * Operands of the integer rows may carry anything above their width; results are zero-extended from it. A row named
 * `addi32` takes the constant in place of `b`, one named `add32nf` leaves the flags alone.
 */
const rows: UopDefinition[] = [];

/** Push the second word of the lazy flags for R = A + B (+ CF) or A - B (- CF) computed on all 64 bits. */
export function emitCarries(e: UopEmitter, size: Size, a: number, b: number, r: number, subtract: boolean): void {
  const { w } = e;
  if (size === 64) {
    // The vector of carries, or of borrows with A inverted: majority of A, B and NOT R.
    const operandA = (): void => {
      w.get(a);
      if (!subtract) return;
      w.i64(-1n);
      w.op("i64.xor");
    };
    operandA();
    w.get(b);
    w.op("i64.and");
    operandA();
    w.get(b);
    w.op("i64.or");
    w.get(r);
    if (!subtract) {
      w.i64(-1n);
      w.op("i64.xor");
    }
    w.op("i64.and", "i64.or");
    w.i64(0xc000_0000_0000_0008n);
    w.op("i64.and");
    return;
  }
  // Bit i of A ^ B ^ R is the carry into bit i, and that is the carry out of bit i - 1.
  const into = e.i64(3);
  w.get(a);
  w.get(b);
  w.op("i64.xor");
  w.get(r);
  w.op("i64.xor");
  w.tee(into);
  w.i64(BigInt(63 - size));
  w.op("i64.shl");
  w.i64(0xc000_0000_0000_0000n);
  w.op("i64.and");
  w.get(into);
  w.i64(1n);
  w.op("i64.shr_u");
  w.i64(8n);
  w.op("i64.and", "i64.or");
}

const addFlags = (size: Size, a: bigint, b: bigint, carry: bigint): { cf: bigint; of: bigint; af: bigint } => {
  const [za, zb] = [zeroExtend(size, a), zeroExtend(size, b)];
  const sum = za + zb + carry;
  const signed = BigInt.asIntN(size, a) + BigInt.asIntN(size, b) + carry;
  return {
    cf: bit(sum, size),
    of: signed === BigInt.asIntN(size, signed) ? 0n : 1n,
    af: bit((za & 15n) + (zb & 15n) + carry, 4),
  };
};

export const subFlags = (size: Size, a: bigint, b: bigint, borrow: bigint): { cf: bigint; of: bigint; af: bigint } => {
  const [za, zb] = [zeroExtend(size, a), zeroExtend(size, b)];
  const signed = BigInt.asIntN(size, a) - BigInt.asIntN(size, b) - borrow;
  return {
    cf: za < zb + borrow ? 1n : 0n,
    of: signed === BigInt.asIntN(size, signed) ? 0n : 1n,
    af: (za & 15n) < (zb & 15n) + borrow ? 1n : 0n,
  };
};

interface Binary {
  readonly name: string;
  readonly text: string;
  readonly op: "i64.add" | "i64.sub" | "i64.and" | "i64.or" | "i64.xor";
  readonly carry?: boolean;
  /** CMP and TEST: flags alone. */
  readonly discard?: boolean;
}

const BINARIES: readonly Binary[] = [
  { name: "add", text: "a + b", op: "i64.add" },
  { name: "sub", text: "a - b", op: "i64.sub" },
  { name: "adc", text: "a + b + CF", op: "i64.add", carry: true },
  { name: "sbb", text: "a - b - CF", op: "i64.sub", carry: true },
  { name: "and", text: "a & b", op: "i64.and" },
  { name: "or", text: "a | b", op: "i64.or" },
  { name: "xor", text: "a ^ b", op: "i64.xor" },
  { name: "cmp", text: "a - b", op: "i64.sub", discard: true },
  { name: "test", text: "a & b", op: "i64.and", discard: true },
];

function combine(op: Binary["op"], a: bigint, b: bigint, carry: bigint): bigint {
  if (op === "i64.add") return a + b + carry;
  if (op === "i64.sub") return a - b - carry;
  if (op === "i64.and") return a & b;
  return op === "i64.or" ? a | b : a ^ b;
}

function binary({ name, text, op, carry = false, discard = false }: Binary, size: Size, immediate: boolean): void {
  const base = `${name}${immediate ? "i" : ""}${size}`;
  const pushB = (e: UopEmitter): void => (immediate ? e.imm() : e.b());
  const valueB = (v: UopValues): bigint => (immediate ? v.imm() : v.b());
  const sources = immediate ? (["a", "imm"] as const) : (["a", "b"] as const);
  const arithmetic = op === "i64.add" || op === "i64.sub";
  const compute = (e: UopEmitter): void => {
    e.w.op(op);
    if (!carry) return;
    emitCarry(e);
    e.w.op(op);
  };
  const evaluated = (v: UopValues): bigint => combine(op, v.a(), valueB(v), carry ? carryOf(v) : 0n);
  const withoutFlags = `${base}nf`;
  const hasTwin = !discard;
  rows.push({
    name: base,
    summary: `${discard ? "flags of" : "d ="} ${text}, ${size}-bit, all flags`,
    operands: discard ? sources : ["d", ...sources],
    writesFlags: true,
    ...(carry ? { readsFlags: true } : {}),
    ...(hasTwin ? { flagless: withoutFlags } : {}),
    wasm: (e) => {
      const [a, b, r] = [e.i64(0), e.i64(1), e.i64(2)];
      e.a();
      if (arithmetic) e.w.tee(a);
      pushB(e);
      if (arithmetic) e.w.tee(b);
      compute(e);
      e.w.set(r);
      if (!discard) emitResult(e, size, r);
      emitFlags(e, size, r, () => {
        if (arithmetic) emitCarries(e, size, a, b, r, op === "i64.sub");
        else e.w.i64(0n);
      });
    },
    evaluate: (v) => {
      const [a, b, c] = [v.a(), valueB(v), carry ? carryOf(v) : 0n];
      const result = evaluated(v);
      if (!discard) v.setD(zeroExtend(size, result));
      if (op === "i64.add") setFlags(v, size, result, addFlags(size, a, b, c));
      else if (op === "i64.sub") setFlags(v, size, result, subFlags(size, a, b, c));
      else setFlags(v, size, result, { cf: 0n, of: 0n, af: 0n });
    },
  });
  if (!hasTwin) return;
  rows.push({
    name: withoutFlags,
    summary: `d = ${text}, ${size}-bit`,
    operands: ["d", ...sources],
    ...(carry ? { readsFlags: true } : {}),
    wasm: (e) =>
      e.setD(() => {
        e.a();
        pushB(e);
        compute(e);
        emitZeroExtend(e, size);
      }),
    evaluate: (v) => v.setD(zeroExtend(size, evaluated(v))),
  });
}

/** INC and DEC: flags of adding or subtracting 1, CF kept. */
function step(name: "inc" | "dec", size: Size): void {
  const op = name === "inc" ? "i64.add" : "i64.sub";
  const valueOf = (a: bigint): bigint => (name === "inc" ? a + 1n : a - 1n);
  rows.push({
    name: `${name}${size}`,
    summary: `d = a ${name === "inc" ? "+" : "-"} 1, ${size}-bit, all flags but CF`,
    operands: ["d", "a"],
    writesFlags: true,
    readsFlags: true,
    flagless: `${name}${size}nf`,
    wasm: (e) => {
      const { w } = e;
      const [a, r, old, overflow] = [e.i64(0), e.i64(1), e.i64(2), e.i64(3)];
      e.a();
      w.tee(a);
      w.i64(1n);
      w.op(op);
      w.set(r);
      // The sign changes to the wrong one exactly when it changes from 0 to 1 by INC, from 1 to 0 by DEC.
      if (name === "inc") {
        w.get(r);
        w.get(a);
      } else {
        w.get(a);
        w.get(r);
      }
      w.i64(-1n);
      w.op("i64.xor", "i64.and");
      w.i64(BigInt(64 - size));
      w.op("i64.shl");
      w.i64(1n << 63n);
      w.op("i64.and");
      w.set(overflow);
      e.get("flagAux");
      w.i64(1n << 63n);
      w.op("i64.and");
      w.set(old);
      emitResult(e, size, r);
      emitFlags(e, size, r, () => {
        w.get(old);
        w.get(old);
        w.get(overflow);
        w.op("i64.xor");
        w.i64(1n);
        w.op("i64.shr_u", "i64.or");
        // AF: bit 4 of A ^ R.
        w.get(a);
        w.get(r);
        w.op("i64.xor");
        w.i64(1n);
        w.op("i64.shr_u");
        w.i64(8n);
        w.op("i64.and", "i64.or");
      });
    },
    evaluate: (v) => {
      const a = v.a();
      const flags = name === "inc" ? addFlags(size, a, 1n, 0n) : subFlags(size, a, 1n, 0n);
      const cf = carryOf(v);
      v.setD(zeroExtend(size, valueOf(a)));
      setFlags(v, size, valueOf(a), { ...flags, cf });
    },
  });
  rows.push({
    name: `${name}${size}nf`,
    summary: `d = a ${name === "inc" ? "+" : "-"} 1, ${size}-bit`,
    operands: ["d", "a"],
    wasm: (e) =>
      e.setD(() => {
        e.a();
        e.w.i64(1n);
        e.w.op(op);
        emitZeroExtend(e, size);
      }),
    evaluate: (v) => v.setD(zeroExtend(size, valueOf(v.a()))),
  });
}

function negate(size: Size): void {
  rows.push({
    name: `neg${size}`,
    summary: `d = 0 - a, ${size}-bit, all flags`,
    operands: ["d", "a"],
    writesFlags: true,
    flagless: `neg${size}nf`,
    wasm: (e) => {
      const [zero, a, r] = [e.i64(0), e.i64(1), e.i64(2)];
      e.w.i64(0n);
      e.w.tee(zero);
      e.a();
      e.w.tee(a);
      e.w.op("i64.sub");
      e.w.set(r);
      emitResult(e, size, r);
      emitFlags(e, size, r, () => emitCarries(e, size, zero, a, r, true));
    },
    evaluate: (v) => {
      const a = v.a();
      v.setD(zeroExtend(size, -a));
      setFlags(v, size, -a, subFlags(size, 0n, a, 0n));
    },
  });
  rows.push({
    name: `neg${size}nf`,
    summary: `d = 0 - a, ${size}-bit`,
    operands: ["d", "a"],
    wasm: (e) =>
      e.setD(() => {
        e.w.i64(0n);
        e.a();
        e.w.op("i64.sub");
        emitZeroExtend(e, size);
      }),
    evaluate: (v) => v.setD(zeroExtend(size, -v.a())),
  });
}

for (const size of SIZES) {
  for (const row of BINARIES) {
    binary(row, size, false);
    binary(row, size, true);
  }
  step("inc", size);
  step("dec", size);
  negate(size);
}

/** ADD, SUB, ADC, SBB, AND, OR, XOR, CMP, TEST, INC, DEC, NEG. */
export const ALU: readonly UopDefinition[] = rows;
