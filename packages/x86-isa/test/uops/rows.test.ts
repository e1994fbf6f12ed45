import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  CpuState,
  encodeFlags,
  MXCSR_RESET,
  slot,
  uopNamed,
  uopNumber,
  UOPS,
  type Uop,
  type UopDefinition,
} from "../../src/index.js";
import { RowHarness } from "./harness.js";

function fromBytes(bytes: number[]): bigint {
  return bytes.reduce((sum, byte) => (sum << 8n) | BigInt(byte), 0n);
}

function fromWords(words: bigint[]): bigint {
  return words.reduce((sum, word) => (sum << 16n) | word, 0n);
}

/** Vector slots: rows of 64 bits use their low half. */
const SLOTS = [slot("v0"), slot("v1"), slot("v2"), slot("xmm3")];

/** Corners of every width, and anything. */
const value = fc.oneof(
  fc.constantFrom(0n, 1n, 2n, 0x7fn, 0x80n, 0xffn, 0x7fffn, 0x8000n, 0xffffn, 0x7fff_ffffn, 0x8000_0000n, 0xffff_ffffn),
  fc.constantFrom((1n << 63n) - 1n, 1n << 63n, (1n << 64n) - 1n, (1n << 64n) - 2n, 1n << 32n, 0xffff_8000_0000_0000n),
  fc.bigInt(0n, 70n),
  fc.bigInt(0n, (1n << 32n) - 1n),
  fc.bigInt(0n, (1n << 64n) - 1n),
);

/** The same for elements of vectors. */
const vectorHalf = fc.oneof(
  value,
  fc.array(fc.constantFrom(0, 1, 0x7f, 0x80, 0xff), { minLength: 8, maxLength: 8 }).map(fromBytes),
  fc.array(fc.constantFrom(0n, 1n, 0x7fffn, 0x8000n, 0xffffn), { minLength: 4, maxLength: 4 }).map(fromWords),
);

/** States as flags can be: made by an instruction, or by POPF. */
const flags = fc.oneof(
  fc.bigInt(0n, 0xfffn).map((rflags) => encodeFlags(rflags)),
  fc.tuple(value, fc.integer({ min: 0, max: 7 })).map(([flagResult, bits]) => ({
    flagResult,
    flagAux: (BigInt(bits & 1) << 63n) | (BigInt((bits >> 1) & 1) << 62n) | (BigInt(bits >> 2) << 3n),
  })),
);

const WIDTHS: Readonly<Record<string, readonly bigint[]>> = { div64u: [8n, 16n, 32n], div64s: [8n, 16n, 32n] };

const immediate = (row: UopDefinition): fc.Arbitrary<bigint> => {
  const widths = WIDTHS[row.name];
  return widths === undefined ? value : fc.constantFrom(...widths);
};

const pure = UOPS.filter((row) => row.memory !== true && row.ends !== true && !row.operands.includes("n"));

describe("every micro-operation that touches no memory", () => {
  it.each(pure.map((row) => [row.name, row] as const))(
    "%s does the same in WebAssembly and in bigint",
    (_name, row) => {
      const harness = new RowHarness(row);
      const place = fc.constantFrom(...SLOTS);
      const property = fc.property(
        fc.tuple(place, place, place),
        fc.array(vectorHalf, { minLength: SLOTS.length * 2, maxLength: SLOTS.length * 2 }),
        immediate(row),
        flags,
        ([d, a, b], values, imm, { flagResult, flagAux }) => {
          const uop: Uop = { op: uopNumber(uopNamed(row.name)), d, a, b, imm: BigInt.asIntN(64, imm) };
          const state = new CpuState();
          for (const [i, at] of SLOTS.entries()) {
            state.set64(at, values[i * 2] as bigint);
            state.set64(at + 8, values[i * 2 + 1] as bigint);
          }
          state.set64(slot("flagResult"), flagResult);
          state.set64(slot("flagAux"), flagAux);
          state.set64(slot("rip"), 0xffff_8000_1234_5678n);
          state.set32(slot("mxcsr"), MXCSR_RESET);
          const bytes = new Uint8Array(state.buffer as ArrayBuffer);
          const expected = harness.bigint(uop, bytes);
          const actual = harness.wasm(uop, bytes);
          expect(actual.fault).toBe(expected.fault);
          if (expected.fault === undefined) expect(difference(actual.state, expected.state)).toEqual([]);
          else expect(difference(actual.state, hexOf(bytes))).toEqual([]);
        },
      );
      fc.assert(property, { numRuns: 150, seed: 20_250 });
    },
  );
});

const hexOf = (bytes: Uint8Array): string => Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");

/** The 64-bit words that differ, as text. */
function difference(actual: string, expected: string): string[] {
  const words: string[] = [];
  for (let at = 0; at < expected.length; at += 16) {
    const [one, other] = [actual.slice(at, at + 16), expected.slice(at, at + 16)];
    if (one !== other) words.push(`at ${at / 2}: ${one} instead of ${other}`);
  }
  return words;
}
