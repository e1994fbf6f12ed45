import type { UopDefinition } from "../definition.js";
import type { PlainOp } from "../../wasm/opcodes.js";
import {
  apply,
  binaryRow,
  elementwise,
  lanes,
  join,
  saturateSigned,
  saturateUnsigned,
  SHAPES,
  signed,
  SUFFIXES,
  unaryRow,
  type LaneBits,
} from "./lanes.js";

const rows: UopDefinition[] = [];

/** Operations on elements at the same place, by their mnemonics without the suffix of the width. */
interface ElementOp {
  readonly name: string;
  readonly text: string;
  readonly widths: readonly LaneBits[];
  /** WebAssembly's name of it behind the shape. */
  readonly op: string;
  readonly f: (bits: number, x: bigint, y: bigint) => bigint;
}

const NARROW = [8, 16] as const;
const UP_TO_32 = [8, 16, 32] as const;
const ALL = [8, 16, 32, 64] as const;

const smaller = (x: bigint, y: bigint): bigint => (x < y ? x : y);
const larger = (x: bigint, y: bigint): bigint => (x > y ? x : y);

const ELEMENT_OPS: readonly ElementOp[] = [
  { name: "padd", text: "a + b", widths: ALL, op: "add", f: (_, x, y) => x + y },
  { name: "psub", text: "a - b", widths: ALL, op: "sub", f: (_, x, y) => x - y },
  {
    name: "padds",
    text: "a + b, saturated signed",
    widths: NARROW,
    op: "add_sat_s",
    f: (bits, x, y) => saturateSigned(bits, signed(bits, x) + signed(bits, y)),
  },
  {
    name: "paddus",
    text: "a + b, saturated unsigned",
    widths: NARROW,
    op: "add_sat_u",
    f: (bits, x, y) => saturateUnsigned(bits, x + y),
  },
  {
    name: "psubs",
    text: "a - b, saturated signed",
    widths: NARROW,
    op: "sub_sat_s",
    f: (bits, x, y) => saturateSigned(bits, signed(bits, x) - signed(bits, y)),
  },
  {
    name: "psubus",
    text: "a - b, saturated unsigned",
    widths: NARROW,
    op: "sub_sat_u",
    f: (bits, x, y) => saturateUnsigned(bits, x - y),
  },
  { name: "pminu", text: "the smaller, unsigned", widths: UP_TO_32, op: "min_u", f: (_, x, y) => smaller(x, y) },
  { name: "pmaxu", text: "the larger, unsigned", widths: UP_TO_32, op: "max_u", f: (_, x, y) => larger(x, y) },
  {
    name: "pmins",
    text: "the smaller, signed",
    widths: UP_TO_32,
    op: "min_s",
    f: (bits, x, y) => smaller(signed(bits, x), signed(bits, y)),
  },
  {
    name: "pmaxs",
    text: "the larger, signed",
    widths: UP_TO_32,
    op: "max_s",
    f: (bits, x, y) => larger(signed(bits, x), signed(bits, y)),
  },
  { name: "pavg", text: "(a + b + 1) / 2, unsigned", widths: NARROW, op: "avgr_u", f: (_, x, y) => (x + y + 1n) >> 1n },
  { name: "pcmpeq", text: "-1 if a == b, else 0", widths: ALL, op: "eq", f: (_, x, y) => (x === y ? -1n : 0n) },
  {
    name: "pcmpgt",
    text: "-1 if a > b signed, else 0",
    widths: ALL,
    op: "gt_s",
    f: (bits, x, y) => (signed(bits, x) > signed(bits, y) ? -1n : 0n),
  },
  { name: "pmull", text: "low half of a * b", widths: [16, 32], op: "mul", f: (_, x, y) => x * y },
];

for (const { name, text, widths, op, f } of ELEMENT_OPS) {
  for (const bits of widths) {
    rows.push(
      binaryRow(
        `${name}${SUFFIXES[bits]}`,
        `${text}, by elements of ${bits} bits`,
        apply(`${SHAPES[bits]}.${op}` as PlainOp),
        elementwise(bits, (x, y) => f(bits, x, y)),
      ),
    );
  }
}

const all = (value: bigint): bigint => BigInt.asUintN(128, value);

rows.push(
  binaryRow("pand", "a & b", apply("v128.and"), (a, b) => a & b),
  binaryRow("por", "a | b", apply("v128.or"), (a, b) => a | b),
  binaryRow("pxor", "a ^ b", apply("v128.xor"), (a, b) => a ^ b),
  binaryRow(
    "pandn",
    "~a & b",
    (e) => {
      e.vb();
      e.va();
      e.w.op("v128.andnot");
    },
    (a, b) => all(~a) & b,
  ),
);

for (const bits of UP_TO_32) {
  const shape = SHAPES[bits];
  rows.push(
    unaryRow(
      `pabs${SUFFIXES[bits]}`,
      `absolute values of elements of ${bits} bits, signed`,
      (e) => {
        e.va();
        e.w.op(`${shape}.abs`);
      },
      (a) =>
        join(
          lanes(a, bits).map((x) => (signed(bits, x) < 0n ? -signed(bits, x) : x)),
          bits,
        ),
    ),
    binaryRow(
      `psign${SUFFIXES[bits]}`,
      `a with the sign of b multiplied in, 0 where b is 0, by elements of ${bits} bits`,
      (e) => {
        const { w } = e;
        const negative = e.v128(0);
        // (a ^ m) - m is -a where m is all ones.
        e.vb();
        w.i32(bits - 1);
        w.op(`${shape}.shr_s`);
        w.set(negative);
        e.va();
        w.get(negative);
        w.op("v128.xor");
        w.get(negative);
        w.op(`${shape}.sub`);
        e.vb();
        w.v128(0n, 0n);
        w.op(`${shape}.eq`, "v128.andnot");
      },
      elementwise(bits, (x, y) => (y === 0n ? 0n : signed(bits, y) < 0n ? -x : x)),
    ),
  );
}

/** Operations on elements at the same place: sums, comparisons, minima, averages, logic. */
export const VECTOR_ARITHMETIC: readonly UopDefinition[] = rows;
