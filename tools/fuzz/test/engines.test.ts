import { describe, expect, it } from "vitest";
import { fuzzEngines } from "../engines.js";
import { MODES } from "../engines/start.js";

describe("random guests", () => {
  it("leave the same on the interpreter as on the evaluator, in every mode", { timeout: 120_000 }, () => {
    const lines: string[] = [];
    const result = fuzzEngines({ seed: 0x7a9, cases: 30 }, (line) => lines.push(line));
    expect(lines.slice(0, -1)).toEqual([]);
    expect(result.mismatches).toBe(0);
    expect(result.guests).toBe(30);
    expect(result.instructions).toBeGreaterThan(10_000);
    for (const mode of MODES) expect(result.modes.get(mode), mode).toBeGreaterThan(100);
  });

  it.each([
    ["an instruction is cut off by the limit of CS at the end of a page", 3, 4935],
    ["the same in compatibility mode", 3, 7541],
    ["a quotient is exact because the divisor is infinite", 3, 1345],
    ["FSTP m80 meets a page fault", 4, 10191],
    ["REPNE CMPS meets a page fault after some elements", 4, 9615],
    ["FISTP stores to itself", 4, 17208],
    ["FIST to two pages meets #AC", 5, 18563],
  ])("that once differed do so no more: %s", { timeout: 120_000 }, (_, seed, first) => {
    expect(fuzzEngines({ seed, first, cases: 1 }, () => undefined).mismatches).toBe(0);
  });

  it("are the same for a seed", { timeout: 120_000 }, () => {
    const run = (seed: number): string => {
      const { instructions, faults } = fuzzEngines({ seed, cases: 3 }, () => undefined);
      return `${instructions} ${faults}`;
    };
    expect(run(5)).toBe(run(5));
    expect(run(5)).not.toBe(run(6));
  });
});
