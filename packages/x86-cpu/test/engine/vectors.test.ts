import { describe, expect, it } from "vitest";
import { runVectors } from "../../../x86-isa/test/vectors/run.js";
import { VectorRig } from "./vector-rig.js";

describe.each([64, 32, 16] as const)("integer instructions in %i-bit code", (bitness) => {
  it("end as on the recorded processor when the interpreter executes them", { timeout: 120_000 }, () => {
    const rig = new VectorRig(bitness);
    const { mismatches } = runVectors(bitness, (c, _, origin) => {
      rig.setUp(c, origin);
      rig.executeOne();
      return rig.outcome(c);
    });
    expect(mismatches.slice(0, 20)).toEqual([]);
    expect(mismatches.length).toBe(0);
  });
});
