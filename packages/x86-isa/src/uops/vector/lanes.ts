import type { PlainOp } from "../../wasm/opcodes.js";
import type { UopDefinition, UopEmitter, UopValues } from "../definition.js";

/** Widths of the elements of a vector, in bits, with WebAssembly's names of the shapes and the manual's suffixes. */
export const SHAPES = { 8: "i8x16", 16: "i16x8", 32: "i32x4", 64: "i64x2" } as const;
export const SUFFIXES = { 8: "b", 16: "w", 32: "d", 64: "q" } as const;
export type LaneBits = keyof typeof SHAPES;

export const VECTOR_BITS = 128;

/** The elements of a vector, lowest first, unsigned. */
export function lanes(value: bigint, bits: number, count = VECTOR_BITS / bits): bigint[] {
  return Array.from({ length: count }, (_, n) => BigInt.asUintN(bits, value >> BigInt(n * bits)));
}

/** The vector of elements, lowest first, each cut to `bits`. */
export function join(elements: readonly bigint[], bits: number): bigint {
  return elements.reduce((sum, lane, n) => sum | (BigInt.asUintN(bits, lane) << BigInt(n * bits)), 0n);
}

export const signed = (bits: number, lane: bigint): bigint => BigInt.asIntN(bits, lane);

const clamp = (value: bigint, least: bigint, most: bigint): bigint =>
  value < least ? least : value > most ? most : value;

/** The nearest value that `bits` can hold, signed or unsigned. */
export const saturateSigned = (bits: number, value: bigint): bigint =>
  clamp(value, -(1n << BigInt(bits - 1)), (1n << BigInt(bits - 1)) - 1n);
export const saturateUnsigned = (bits: number, value: bigint): bigint => clamp(value, 0n, (1n << BigInt(bits)) - 1n);

/** A row d = f(a, b) on vectors. */
export function binaryRow(
  name: string,
  summary: string,
  wasm: (e: UopEmitter) => void,
  evaluate: (a: bigint, b: bigint) => bigint,
): UopDefinition {
  return {
    name,
    summary: `d = ${summary}`,
    operands: ["d", "a", "b"],
    outlined: true,
    wasm: (e) => e.setVD(() => wasm(e)),
    evaluate: (v) => v.setVD(evaluate(v.va(), v.vb())),
  };
}

/** A row d = f(a) on vectors. */
export function unaryRow(
  name: string,
  summary: string,
  wasm: (e: UopEmitter) => void,
  evaluate: (a: bigint) => bigint,
): UopDefinition {
  return {
    name,
    summary: `d = ${summary}`,
    operands: ["d", "a"],
    outlined: true,
    wasm: (e) => e.setVD(() => wasm(e)),
    evaluate: (v) => v.setVD(evaluate(v.va())),
  };
}

/** A row d = f(a, imm) on vectors. */
export function immediateRow(
  name: string,
  summary: string,
  wasm: (e: UopEmitter) => void,
  evaluate: (a: bigint, imm: bigint, v: UopValues) => bigint,
): UopDefinition {
  return {
    name,
    summary: `d = ${summary}`,
    operands: ["d", "a", "imm"],
    outlined: true,
    wasm: (e) => e.setVD(() => wasm(e)),
    evaluate: (v) => v.setVD(evaluate(v.va(), v.imm(), v)),
  };
}

/** Each element of d = f of the elements of a and b at its place, unsigned; the result is cut to the width. */
export const elementwise =
  (bits: number, f: (x: bigint, y: bigint) => bigint) =>
  (a: bigint, b: bigint): bigint => {
    const other = lanes(b, bits);
    return join(
      lanes(a, bits).map((x, n) => f(x, other[n] ?? 0n)),
      bits,
    );
  };

/** Push a and b and apply an instruction to them. */
export const apply =
  (...ops: PlainOp[]) =>
  (e: UopEmitter): void => {
    e.va();
    e.vb();
    e.w.op(...ops);
  };
