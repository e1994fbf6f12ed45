import type { UopDefinition } from "../definition.js";
import { lanes, SHAPES, type LaneBits } from "./lanes.js";

const rows: UopDefinition[] = [];

const MASKS: readonly (readonly [name: string, bits: LaneBits])[] = [
  ["pmovmskb", 8],
  ["movmskps", 32],
  ["movmskpd", 64],
];

for (const [name, bits] of MASKS) {
  rows.push({
    name,
    summary: `d = the signs of the elements of ${bits} bits of a, 64-bit`,
    operands: ["d", "a"],
    outlined: true,
    wasm: (e) =>
      e.setD(() => {
        e.va();
        e.w.op(`${SHAPES[bits]}.bitmask` as "i8x16.bitmask", "i64.extend_i32_u");
      }),
    evaluate: (v) =>
      v.setD(lanes(v.va(), bits).reduce((mask, lane, n) => mask | ((lane >> BigInt(bits - 1)) << BigInt(n)), 0n)),
  });
}

rows.push(
  {
    name: "ins32",
    summary: "bits 31:0 of d = low 32 bits of a",
    operands: ["d", "a"],
    wasm: (e) =>
      e.setD(() => {
        e.d();
        e.w.i64(-0x1_0000_0000n);
        e.w.op("i64.and");
        e.a();
        e.w.i64(0xffff_ffffn);
        e.w.op("i64.and", "i64.or");
      }),
    evaluate: (v) => v.setD((v.d() & ~0xffff_ffffn) | BigInt.asUintN(32, v.a())),
  },
  {
    name: "vtest",
    summary: "d = ZF and CF as in RFLAGS: a & b is 0, ~a & b is 0",
    operands: ["d", "a", "b"],
    outlined: true,
    wasm: (e) =>
      e.setD(() => {
        const { w } = e;
        e.va();
        e.vb();
        w.op("v128.and", "v128.any_true", "i32.eqz");
        w.i32(6);
        w.op("i32.shl");
        e.vb();
        e.va();
        w.op("v128.andnot", "v128.any_true", "i32.eqz", "i32.or", "i64.extend_i32_u");
      }),
    evaluate: (v) => {
      const [a, b] = [v.va(), v.vb()];
      v.setD(((a & b) === 0n ? 0x40n : 0n) | ((b & ~a) === 0n ? 1n : 0n));
    },
  },
);

/** What leads from vectors to general registers and flags. */
export const VECTOR_SCALARS: readonly UopDefinition[] = rows;
