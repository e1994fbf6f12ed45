import type { UopDefinition } from "./definition.js";
import { LEA_SHIFTS, leaRow, ripRelativeRow } from "./addresses.js";
import { emitSignExtend, emitZeroExtend, mask, signExtend, u64, zeroExtend } from "./parts.js";

const rows: UopDefinition[] = [];

rows.push(
  {
    name: "mov",
    summary: "d = a",
    operands: ["d", "a"],
    wasm: (e) => e.setD(() => e.a()),
    evaluate: (v) => v.setD(v.a()),
  },
  {
    name: "movi",
    summary: "d = imm",
    operands: ["d", "imm"],
    wasm: (e) => e.setD(() => e.imm()),
    evaluate: (v) => v.setD(v.imm()),
  },
  {
    name: "zx8h",
    summary: "d = bits 15:8 of a, zero-extended: AH, CH, DH, BH as a source",
    operands: ["d", "a"],
    wasm: (e) =>
      e.setD(() => {
        e.a();
        e.w.i64(8n);
        e.w.op("i64.shr_u");
        e.w.i64(0xffn);
        e.w.op("i64.and");
      }),
    evaluate: (v) => v.setD((v.a() >> 8n) & 0xffn),
  },
  ripRelativeRow(false),
);

for (const from of [8, 16, 32] as const) {
  rows.push(
    {
      name: `zx${from}`,
      summary: `d = low ${from} bits of a, zero-extended`,
      operands: ["d", "a"],
      wasm: (e) =>
        e.setD(() => {
          e.a();
          emitZeroExtend(e, from);
        }),
      evaluate: (v) => v.setD(zeroExtend(from, v.a())),
    },
    {
      name: `sx${from}`,
      summary: `d = low ${from} bits of a, sign-extended to 64`,
      operands: ["d", "a"],
      wasm: (e) =>
        e.setD(() => {
          e.a();
          emitSignExtend(e, from);
        }),
      evaluate: (v) => v.setD(signExtend(from, v.a())),
    },
  );
}

/** d with the field of `size` bits at bit `at` replaced by the low bits of a. */
const insert = (name: string, size: 8 | 16, at: bigint): UopDefinition => {
  const hole = u64(~(mask(size) << at));
  return {
    name,
    summary: `bits ${Number(at) + size - 1}:${at} of d = low ${size} bits of a`,
    operands: ["d", "a"],
    wasm: (e) =>
      e.setD(() => {
        e.d();
        e.w.i64(hole);
        e.w.op("i64.and");
        e.a();
        e.w.i64(mask(size));
        e.w.op("i64.and");
        if (at !== 0n) {
          e.w.i64(at);
          e.w.op("i64.shl");
        }
        e.w.op("i64.or");
      }),
    evaluate: (v) => v.setD((v.d() & hole) | (zeroExtend(size, v.a()) << at)),
  };
};
rows.push(insert("ins8", 8, 0n), insert("ins8h", 8, 8n), insert("ins16", 16, 0n));

/** Effective addresses of 64 bits; a zero extension cuts them to shorter ones. */
for (const shift of LEA_SHIFTS) rows.push(leaRow(shift, false));

/** Moves, constants, extensions, partial-register inserts, effective addresses. */
export const MOVES: readonly UopDefinition[] = rows;
