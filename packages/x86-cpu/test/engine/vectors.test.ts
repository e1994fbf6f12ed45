import { describe, expect, it } from "vitest";
import { runVectors } from "../../../x86-isa/test/vectors/run.js";
import { suiteOf, SUITES } from "../../../x86-isa/test/vectors/suite.js";
import { interpreterExecutor } from "./vector-rig.js";

/** Of the cases of each form; `pnpm vectors` runs them all. */
const CASES = 12;

describe.each(SUITES)("%s instructions in %i-bit code", (set, bitness) => {
  it("end as on the recorded processor when the interpreter executes them", { timeout: 120_000 }, () => {
    const { mismatches } = runVectors(suiteOf(set, bitness), interpreterExecutor(bitness), CASES);
    expect(mismatches.slice(0, 20).map(({ text }) => text)).toEqual([]);
  });
});
