import type { UopDefinition, UopEmitter } from "../definition.js";
import { immediateRow, join, lanes, SHAPES, signed, SUFFIXES, type LaneBits } from "./lanes.js";

const rows: UopDefinition[] = [];

type Kind = "psll" | "psrl" | "psra";

const SHIFTS: Readonly<Record<Kind, { text: string; op: "shl" | "shr_u" | "shr_s"; widths: readonly LaneBits[] }>> = {
  psll: { text: "shifted left", op: "shl", widths: [16, 32, 64] },
  psrl: { text: "shifted right, zeros coming in", op: "shr_u", widths: [16, 32, 64] },
  psra: { text: "shifted right, the sign coming in", op: "shr_s", widths: [16, 32] },
};

/** The count is not masked: one above the width shifts everything out (SDM vol. 2, "PSLLW/PSLLD/PSLLQ"). */
function shifted(kind: Kind, bits: number, value: bigint, count: bigint): bigint {
  const out = count >= BigInt(bits);
  const by = out ? BigInt(bits) : count;
  return join(
    lanes(value, bits).map((x) => {
      if (kind === "psra") return signed(bits, x) >> by;
      return kind === "psll" ? x << by : x >> by;
    }),
    bits,
  );
}

function emitShift(e: UopEmitter, kind: Kind, bits: LaneBits, count: () => void): void {
  const { w } = e;
  const by = e.i64(0);
  count();
  w.set(by);
  e.va();
  // WebAssembly masks the count.
  if (kind === "psra") {
    w.get(by);
    w.i64(BigInt(bits - 1));
    w.get(by);
    w.i64(BigInt(bits));
    w.op("i64.lt_u", "select", "i32.wrap_i64", `${SHAPES[bits]}.${SHIFTS[kind].op}` as "i16x8.shr_s");
    return;
  }
  w.get(by);
  w.op("i32.wrap_i64", `${SHAPES[bits]}.${SHIFTS[kind].op}` as "i16x8.shl");
  w.i64(-1n);
  w.i64(0n);
  w.get(by);
  w.i64(BigInt(bits));
  w.op("i64.lt_u", "select", "i64x2.splat", "v128.and");
}

for (const kind of ["psll", "psrl", "psra"] as const) {
  const { text, widths } = SHIFTS[kind];
  for (const bits of widths) {
    rows.push(
      {
        name: `${kind}${SUFFIXES[bits]}`,
        summary: `d = elements of ${bits} bits of a, ${text}, by the low 64 bits of b`,
        operands: ["d", "a", "b"],
        outlined: true,
        wasm: (e) => e.setVD(() => emitShift(e, kind, bits, () => e.b())),
        evaluate: (v) => v.setVD(shifted(kind, bits, v.va(), v.b())),
      },
      immediateRow(
        `${kind}i${SUFFIXES[bits]}`,
        `elements of ${bits} bits of a, ${text}, by imm`,
        (e) => emitShift(e, kind, bits, () => e.imm()),
        (a, imm) => shifted(kind, bits, a, imm),
      ),
    );
  }
}

/** Push a constant: the number of each byte. */
export function emitByteNumbers(e: UopEmitter): void {
  e.w.v128(0x0706_0504_0302_0100n, 0x0f0e_0d0c_0b0a_0908n);
}

/** Push imm & 63 in every byte: a swizzle takes numbers past 15 for zero. */
function emitCount(e: UopEmitter): void {
  e.imm();
  e.w.op("i32.wrap_i64");
  e.w.i32(0x3f);
  e.w.op("i32.and", "i8x16.splat");
}

const bytesOf = (imm: bigint): bigint => (imm & 0x3fn) * 8n;

rows.push(
  immediateRow(
    "pslldq",
    "a shifted left by imm bytes, 0 to 63",
    (e) => {
      e.va();
      emitByteNumbers(e);
      emitCount(e);
      e.w.op("i8x16.sub", "i8x16.swizzle");
    },
    (a, imm) => BigInt.asUintN(128, a << bytesOf(imm)),
  ),
  immediateRow(
    "psrldq",
    "a shifted right by imm bytes, 0 to 63",
    (e) => {
      e.va();
      emitByteNumbers(e);
      emitCount(e);
      e.w.op("i8x16.add", "i8x16.swizzle");
    },
    (a, imm) => a >> bytesOf(imm),
  ),
  {
    name: "palignr",
    summary: "d = low half of (a above b) shifted right by imm bytes, 0 to 63",
    operands: ["d", "a", "b", "imm"],
    outlined: true,
    wasm: (e) => {
      const { w } = e;
      const from = e.v128(0);
      e.setVD(() => {
        emitByteNumbers(e);
        emitCount(e);
        w.op("i8x16.add");
        w.set(from);
        e.vb();
        w.get(from);
        w.op("i8x16.swizzle");
        e.va();
        w.get(from);
        w.i32(16);
        w.op("i8x16.splat", "i8x16.sub", "i8x16.swizzle", "v128.or");
      });
    },
    evaluate: (v) => v.setVD(BigInt.asUintN(128, ((v.va() << 128n) | v.vb()) >> bytesOf(v.imm()))),
  },
);

/** Shifts of elements and of the whole register. */
export const VECTOR_SHIFTS: readonly UopDefinition[] = rows;
