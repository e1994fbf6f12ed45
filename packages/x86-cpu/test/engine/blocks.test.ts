import { describe, expect, it } from "vitest";
import { slot } from "@tapvisor/x86-isa";
import { CASES_PER_FORM, generateCase } from "../../../x86-isa/test/vectors/cases.js";
import { listForms } from "../../../x86-isa/test/vectors/forms.js";
import { Rng } from "../../../x86-isa/test/vectors/rng.js";
import { VectorRig } from "./vector-rig.js";

const RIP = slot("rip");
const ROUNDS = 1500;
const LENGTH = 12;
const SELECTORS = { processor: "", selectors: [0x2b, 0x33, 0x2b, 0x2b, 0, 0] };

/**
 * What a block leaves out (flags that are overwritten, bookkeeping of single instructions) must not show: neither at its
 * end, nor where it faults on the way.
 */
describe.each([64, 32, 16] as const)("blocks of %i-bit code", (bitness) => {
  it("end as their instructions do one at a time on the evaluator", { timeout: 120_000 }, () => {
    const { forms } = listForms("integer", bitness);
    const [quick, slow] = [new VectorRig(bitness), new VectorRig(bitness)];
    let faults = 0;
    for (let round = 0; round < ROUNDS; round++) {
      const rng = new Rng(round + 1);
      const [first, ...rest] = Array.from({ length: LENGTH }, () =>
        generateCase(rng.pick(forms), rng.below(CASES_PER_FORM)),
      );
      if (first === undefined) throw new Error("no instruction");
      const code = Uint8Array.from([first, ...rest].flatMap(({ bytes }) => Array.from(bytes)));
      quick.setUp(first, SELECTORS, code);
      slow.setUp(first, SELECTORS, code);
      let left = LENGTH;
      while (quick.fault === undefined && left > 0) {
        const before = quick.retiredCount;
        quick.interpreter.run(left);
        left -= quick.retiredCount - before;
      }
      while (slow.fault === undefined && slow.retiredCount < LENGTH) slow.stepper.step();
      if (slow.fault !== undefined) faults++;
      const text = Buffer.from(code).toString("hex");
      expect(quick.outcome(first), text).toEqual(slow.outcome(first));
      expect(quick.retiredCount, text).toBe(slow.retiredCount);
      expect(quick.state.get64(RIP), text).toBe(slow.state.get64(RIP));
      expect(quick.fault?.errorCode, text).toBe(slow.fault?.errorCode);
      expect(quick.fault?.cr2, text).toBe(slow.fault?.cr2);
    }
    // Both kinds of endings have been seen.
    expect(faults).toBeGreaterThan(ROUNDS / 20);
    expect(faults).toBeLessThan(ROUNDS);
  });
});
