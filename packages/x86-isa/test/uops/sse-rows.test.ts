import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { CpuState, MXCSR_RESET, slot, uopNamed, uopNumber, UOPS, type Uop } from "../../src/index.js";
import { SSE_FLOAT } from "../../src/uops/sse/index.js";
import { RowHarness } from "./harness.js";

const [X, Y, D] = [slot("v0"), slot("v1"), slot("xmm3")];

const view = new DataView(new ArrayBuffer(8));
const double = (value: number): bigint => (view.setFloat64(0, value), view.getBigUint64(0));
const single = (value: number): bigint => (view.setFloat32(0, value), BigInt(view.getUint32(0)));

const SPECIAL_DOUBLES = [
  0n, 1n << 63n, 1n, 0x8000_0000_0000_0001n, 0x000f_ffff_ffff_ffffn, 0x0010_0000_0000_0000n, 0x0010_0000_0000_0001n,
  0x3ff0_0000_0000_0000n, 0x3ff0_0000_0000_0001n, 0x3fef_ffff_ffff_ffffn, 0x7fef_ffff_ffff_ffffn, 0x7ff0_0000_0000_0000n,
  0xfff0_0000_0000_0000n, 0x7ff8_0000_0000_0001n, 0x7ff0_0000_0000_0002n, 0xfff8_0000_0000_0000n, 0x47ef_ffff_efff_ffffn,
  0x3810_0000_0000_0000n, 0x380f_ffff_ffff_ffffn, 0x41df_ffff_ffe0_0000n, 0xc1e0_0000_0010_0000n, 0x43e0_0000_0000_0000n,
] as const; // prettier-ignore
const SPECIAL_SINGLES = [
  0n, 0x8000_0000n, 1n, 0x8000_0001n, 0x7f_ffffn, 0x80_0000n, 0x80_0001n, 0x3f80_0000n, 0x3f80_0001n, 0x3f7f_ffffn,
  0x7f7f_ffffn, 0x7f80_0000n, 0xff80_0000n, 0x7fc0_0001n, 0x7f80_0002n, 0xffc0_0000n, 0x4f00_0000n, 0xcf00_0000n,
  0x5f00_0000n, 0x4b80_0001n,
] as const; // prettier-ignore

const small = fc.oneof(
  fc.integer({ min: -20, max: 20 }),
  fc.integer({ min: -300_000, max: 300_000 }).map((n) => n / 8),
  fc.double({ noNaN: true, min: -1e6, max: 1e6 }),
);
const float64 = fc.oneof(
  { weight: 3, arbitrary: small.map(double) },
  { weight: 1, arbitrary: fc.constantFrom(...SPECIAL_DOUBLES) },
  { weight: 1, arbitrary: fc.bigInt(0n, (1n << 64n) - 1n) },
);
const float32 = fc.oneof(
  { weight: 3, arbitrary: small.map(single) },
  { weight: 1, arbitrary: fc.constantFrom(...SPECIAL_SINGLES) },
  { weight: 1, arbitrary: fc.bigInt(0n, (1n << 32n) - 1n) },
);
const half = fc.oneof(
  float64,
  fc.tuple(float32, float32).map(([low, high]) => low | (high << 32n)),
);
const mxcsr = fc.oneof(
  fc.constantFrom(0x1f80, 0x1fa0),
  fc.integer({ min: 0, max: 0xffff }),
  fc.integer({ min: 0, max: 3 }).map((rounding) => 0x1f80 | (rounding << 13)),
);

const words = (state: string): string[] => state.match(/.{16}/g) ?? [];

describe("every floating-point row of SSE", () => {
  it.each(SSE_FLOAT.map((row) => [row.name, row] as const))(
    "%s does the same in WebAssembly and in bigint",
    (_name, row) => {
      const harness = new RowHarness(row);
      const property = fc.property(
        fc.array(half, { minLength: 6, maxLength: 6 }),
        mxcsr,
        fc.boolean(),
        fc.bigInt(0n, 255n),
        (halves, control, same, imm) => {
          const state = new CpuState();
          for (const [i, at] of [X, Y, D].entries()) {
            state.set64(at, halves[i * 2] as bigint);
            state.set64(at + 8, halves[i * 2 + 1] as bigint);
          }
          state.set32(slot("mxcsr"), control);
          const uop: Uop = { op: uopNumber(uopNamed(row.name)), d: D, a: same ? D : X, b: Y, imm };
          const bytes = new Uint8Array(state.buffer as ArrayBuffer);
          const expected = harness.bigint(uop, bytes);
          const actual = harness.wasm(uop, bytes);
          expect(actual.fault).toBe(expected.fault);
          if (actual.state !== expected.state) expect(words(actual.state)).toEqual(words(expected.state));
        },
      );
      fc.assert(property, { numRuns: 200, seed: 19 });
    },
  );

  it.each(
    SSE_FLOAT.filter(({ name }) => name.endsWith("sd") || name.endsWith("ss")).map((row) => [row.name, row] as const),
  )("%s does the same on every pair of special values", (name, row) => {
    const harness = new RowHarness(row);
    const values = name.endsWith("sd") ? SPECIAL_DOUBLES : SPECIAL_SINGLES;
    const different: string[] = [];
    for (const x of values) {
      for (const y of values) {
        const state = new CpuState();
        state.set64(X, x);
        state.set64(Y, y);
        state.set32(slot("mxcsr"), MXCSR_RESET);
        const uop: Uop = { op: uopNumber(uopNamed(name)), d: D, a: X, b: Y, imm: 0n };
        const bytes = new Uint8Array(state.buffer as ArrayBuffer);
        if (harness.wasm(uop, bytes).state !== harness.bigint(uop, bytes).state) {
          different.push(`${x.toString(16)}, ${y.toString(16)}`);
        }
      }
    }
    expect(different).toEqual([]);
  });

  it("is in the table", () => {
    expect(SSE_FLOAT.filter((row) => !UOPS.includes(row))).toEqual([]);
  });
});
