import { F32, F64, PRE_COMPUTATION, sseContext, type FloatContext, type FloatFormat } from "../../float/index.js";
import { GuestException } from "../../environment.js";
import { slot } from "../../state/layout.js";
import { CR4 } from "../../tables/registers.js";
import { VECTOR } from "../../tables/vectors.js";
import type { UopValues } from "../definition.js";

const MXCSR_SLOT = slot("mxcsr");
const CR4_SLOT = slot("cr4");
const OSXMMEXCPT = Number(CR4.OSXMMEXCPT);
const EXCEPTIONS = 0x3f;

/** What the suffix of an SSE instruction says: how many numbers of which format. */
export interface Shape {
  readonly suffix: "ss" | "sd" | "ps" | "pd";
  readonly format: FloatFormat;
  readonly bits: 32 | 64;
  readonly count: 1 | 2 | 4;
}

export const SHAPES = [
  { suffix: "ss", format: F32, bits: 32, count: 1 },
  { suffix: "sd", format: F64, bits: 64, count: 1 },
  { suffix: "ps", format: F32, bits: 32, count: 4 },
  { suffix: "pd", format: F64, bits: 64, count: 2 },
] as const satisfies readonly Shape[];

/** The shape of a scalar operand. */
export const SCALARS = SHAPES.filter(({ count }) => count === 1);
export const VECTORS = SHAPES.filter(({ count }) => count > 1);

/** The computation of one element of a result. */
export type Lane = (c: FloatContext) => bigint;

/** The low `count` elements of a vector. */
export function split(value: bigint, bits: number, count: number): bigint[] {
  return Array.from({ length: count }, (_, i) => BigInt.asUintN(bits, value >> BigInt(i * bits)));
}

/** The elements of a vector in one value. */
export function join(elements: readonly bigint[], bits: number): bigint {
  return elements.reduce((value, element, i) => value | (element << BigInt(i * bits)), 0n);
}

/**
 * Compute all elements under MXCSR, note their exceptions there, and raise one if any is unmasked. Exceptions of the
 * results count only if no element has met an unmasked one before its computation (SDM vol. 1, "SIMD Floating-Point
 * Exception Conditions").
 */
export function compute(v: UopValues, lanes: readonly Lane[]): bigint[] {
  const { state } = v.machine;
  const mxcsr = state.get32(MXCSR_SLOT);
  let flags = 0;
  const results = lanes.map((lane) => {
    const c = sseContext(mxcsr);
    const result = lane(c);
    flags |= c.flags;
    return result;
  });
  const unmasked = ~(mxcsr >> 7) & EXCEPTIONS;
  if ((flags & unmasked & PRE_COMPUTATION) !== 0) flags &= PRE_COMPUTATION;
  if ((flags & ~mxcsr) !== 0) state.set32(MXCSR_SLOT, mxcsr | flags);
  if ((flags & unmasked) !== 0) {
    throw new GuestException((state.get32(CR4_SLOT) & OSXMMEXCPT) !== 0 ? VECTOR.XM : VECTOR.UD);
  }
  return results;
}

/** Write the elements to the low part of vector slot `d`; the rest of it stays. */
export function setElements(v: UopValues, { bits }: Shape, elements: readonly bigint[]): void {
  const width = bits * elements.length;
  const rest = (v.vd() >> BigInt(width)) << BigInt(width);
  v.setVD(rest | join(elements, bits));
}
