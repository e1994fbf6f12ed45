import { F32, F64, unpack, type FloatValue } from "../float/index.js";
import type { X87 } from "./registers.js";

/** The memory operands that arithmetic and comparisons take, and FLD and FILD load; and what FST and FIST store. */
export const SOURCES = ["m32", "m64", "i16", "i32", "i64"] as const;
export type Source = (typeof SOURCES)[number];

export const SOURCE_BYTES = { m32: 4, m64: 8, i16: 2, i32: 4, i64: 8 } as const satisfies Record<Source, 2 | 4 | 8>;

const FORMATS = { m32: F32, m64: F64 } as const;

export const isReal = (source: Source): source is "m32" | "m64" => source in FORMATS;

/** The real format of a memory operand. */
export const realFormat = (source: "m32" | "m64"): (typeof FORMATS)["m32" | "m64"] => FORMATS[source];

/** An integer as a value that all of it fits. */
export function integerValue(integer: bigint): FloatValue {
  const sign = integer < 0n ? 1 : 0;
  const significand = sign === 1 ? -integer : integer;
  return { kind: integer === 0n ? "zero" : "finite", sign, significand, exponent: 0, denormal: false };
}

/** Load the memory operand. */
export function loadSource(x: X87, source: Source): FloatValue {
  const size = SOURCE_BYTES[source];
  const bits = x.load(size);
  return isReal(source) ? unpack(realFormat(source), bits) : integerValue(BigInt.asIntN(size * 8, bits));
}
