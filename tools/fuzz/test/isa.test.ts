import { describe, expect, it } from "vitest";
import { nativeObstacle } from "../../recorder/native.js";
import { interpreter } from "../executors.js";
import { fuzzIsa, type Executors } from "../isa.js";
import { assemble, generateSequence, makePool } from "../sequence.js";

const obstacle = nativeObstacle();
const pool = makePool(64);

describe("random sequences of instructions", () => {
  it("are the same for a seed and a number, and others for other ones", () => {
    const code = (seed: number, index: number): string =>
      Buffer.from(assemble(generateSequence(pool, seed, index)).bytes).toString("hex");
    expect(code(3, 5)).toBe(code(3, 5));
    expect(new Set([code(3, 5), code(3, 6), code(4, 5)]).size).toBe(3);
  });

  it("are of 1 to 50 instructions and what these need", () => {
    const lengths = Array.from({ length: 300 }, (_, n) => generateSequence(pool, 1, n).items.length);
    expect(Math.min(...lengths)).toBeLessThan(4);
    expect(Math.max(...lengths)).toBeGreaterThan(45);
  });
});

// Without gcc there is no processor to ask.
describe.skipIf(obstacle !== undefined)("sequences on this processor", () => {
  it("end as on the interpreter and on the evaluator", { timeout: 120_000 }, () => {
    const lines: string[] = [];
    const result = fuzzIsa({ seed: 20, cases: 900 }, (line) => lines.push(line));
    expect(lines.slice(0, -1).filter((line) => line.startsWith("MISMATCH"))).toEqual([]);
    expect(result).toMatchObject({ sequences: 900, mismatches: 0 });
    expect(result.instructions).toBeGreaterThan(15_000);
    // Most of them come to their end.
    expect(result.faults).toBeLessThan(450);
  });

  it("that differ are shrunk to the instruction which is to blame, and printed", { timeout: 120_000 }, () => {
    const NOT_RCX = Buffer.from("48f7d1", "hex");
    const wrong = (bitness: 64 | 32): Executors => {
      const right = interpreter(bitness);
      return new Map([
        [
          "broken",
          (c, origin) => {
            const { outcome, instructions } = right(c, origin);
            if (!Buffer.from(c.bytes).includes(NOT_RCX)) return { outcome, instructions };
            return { outcome: { ...outcome, gprs: outcome.gprs.with(9, 0x1234n) }, instructions };
          },
        ],
      ]);
    };
    const lines: string[] = [];
    // Until the instruction turns up.
    let mismatches = 0;
    for (let first = 0; mismatches === 0 && first < 60_000; first += 2000)
      ({ mismatches } = fuzzIsa({ seed: 9, first, cases: 2000, mismatches: 1, executors: wrong }, (line) =>
        lines.push(line),
      ));
    expect(mismatches).toBe(1);
    const at = lines.findIndex((line) => line.startsWith("MISMATCH"));
    expect(lines[at]).toMatch(/^MISMATCH --seed 9 --first \d+ --cases 1: broken, 64-bit code, 1 of \d+ instructions$/);
    expect(lines[at + 1]).toMatch(/not rcx +; 48 f7 d1$/);
    expect(lines.some((line) => /r9 0x1234 instead of/.test(line))).toBe(true);
  });
});
