import { describe, expect, it } from "vitest";
import { CpuState, slot, uopDefinition, uopNumber, type Uop } from "../../src/index.js";
import { STRING_LENGTHS } from "../../src/uops/vector/string-comparison.js";
import { Rng } from "../vectors/rng.js";
import { RowHarness } from "./harness.js";

const [FIRST, SECOND, RESULT] = [slot("v0"), slot("v1"), slot("t0")];
const ROUNDS = 6;

/** Text over a small alphabet, so that there are matches, with an end somewhere. */
function string(rng: Rng, bytes: number): bigint {
  const letters = bytes === 1 ? [0x61, 0x62, 0x63, 0xe1, 0x80] : [0x61, 0x62, 0x161, 0x8061, 0x8000];
  let value = 0n;
  const end = rng.below(24);
  for (let n = 0; n < 16 / bytes; n++) {
    const letter = n === end ? 0 : rng.pick(letters);
    value |= BigInt(letter) << BigInt(n * bytes * 8);
  }
  return value;
}

const LENGTHS = [0n, 1n, 3n, 7n, 8n, 9n, 16n, 17n, 0xffff_ffffn, 0xffff_fffdn, 0x8000_0000n, 1n << 63n, 1n << 32n, (1n << 64n) - 5n]; // prettier-ignore

describe.each(["b", "w"] as const)("the comparison of strings by elements of suffix %s", (suffix) => {
  it("does the same in WebAssembly and in bigint for every control byte", () => {
    const number = uopNumber(`pcmpstr${suffix}`);
    const harness = new RowHarness(uopDefinition(number));
    const rng = new Rng(suffix.charCodeAt(0));
    const seen = new Set<bigint>();
    for (let control = suffix === "w" ? 1 : 0; control < 256; control += 2) {
      for (const lengths of Object.values(STRING_LENGTHS)) {
        for (let round = 0; round < ROUNDS; round++) {
          const state = new CpuState();
          for (const at of [FIRST, SECOND]) {
            const value = string(rng, suffix === "b" ? 1 : 2);
            state.set64(at, BigInt.asUintN(64, value));
            state.set64(at + 8, value >> 64n);
          }
          state.set64(slot("rax"), rng.pick(LENGTHS));
          state.set64(slot("rdx"), rng.pick(LENGTHS));
          const uop: Uop = { op: number, d: RESULT, a: FIRST, b: SECOND, imm: BigInt(control | lengths) };
          const bytes = new Uint8Array(state.buffer as ArrayBuffer);
          const expected = harness.bigint(uop, bytes);
          expect(harness.wasm(uop, bytes).state, `control ${control}`).toBe(expected.state);
          seen.add(new CpuState(Uint8Array.from(Buffer.from(expected.state, "hex")).buffer).get64(RESULT));
        }
      }
    }
    expect(seen.size).toBeGreaterThan(200);
  });
});
