import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { CASES_PER_FORM, generateCase } from "./vectors/cases.js";
import { compared, difference } from "./vectors/compare.js";
import { decodeDigests, digestOutcome, encodeDigests, FormDigester } from "./vectors/digests.js";
import { listForms } from "./vectors/forms.js";
import { FX, INITIAL_FX } from "./vectors/fxsave.js";
import { evaluatorExecutor, runVectors } from "./vectors/run.js";
import { suiteOf, SUITES } from "./vectors/suite.js";

/** Of the cases of each form; `pnpm vectors` runs them all. */
const CASES = 20;

describe.each(SUITES)("%s instructions in %i-bit code", (set, bitness) => {
  it("end as on the recorded processor when the evaluator executes them", { timeout: 120_000 }, () => {
    const suite = suiteOf(set, bitness);
    const { origin, cases, mismatches, notLifted } = runVectors(suite, evaluatorExecutor(), CASES);
    expect(origin.processor).toMatch(/^(GenuineIntel|AuthenticAMD) family \d+ model \d+ stepping \d+$/);
    expect(notLifted).toEqual([]);
    expect(cases).toBe(suite.forms.length * CASES);
    expect(mismatches.slice(0, 20).map(({ text }) => text)).toEqual([]);
  });

  it("are recorded unless there is a reason not to", () => {
    const { forms, excluded } = listForms(set, bitness);
    expect(forms.length).toBeGreaterThan(set === "vector" ? 800 : bitness === 64 ? 1200 : 950);
    for (const { id, reason } of excluded) expect(reason, id).not.toBe("");
    const ids = forms.map((form) => form.id);
    expect(new Set(ids).size).toBe(ids.length);
  });
});

const [form] = listForms("vector", 64).forms;
if (form === undefined) throw new Error("no form");
const c = { bytes: Uint8Array.of(0x90), gprs: [0n, 0n], flags: 0, memory: new Uint8Array(8), fx: INITIAL_FX };
const outcome = { vector: undefined, flags: 0, ip: 1n, gprs: [0n, 0n], memory: [], fx: INITIAL_FX };
const changedFx = (at: number): Uint8Array => {
  const fx = INITIAL_FX.slice();
  fx[at] = 0x41;
  return fx;
};

describe("the comparison with a recording", () => {
  const others = [
    { ...outcome, vector: 13 },
    { ...outcome, flags: 1 },
    { ...outcome, ip: 2n },
    { ...outcome, gprs: [0n, 1n] },
    { ...outcome, memory: [[0x2000, 1] as const] },
    ...[FX.FCW, FX.FSW, FX.FTW, FX.MXCSR, FX.ST0 + 9, FX.XMM0 + 255].map((at) => ({ ...outcome, fx: changedFx(at) })),
  ];

  it.each(others.map((other, n) => [n, other] as const))("notices difference %i, by its digest too", (_, other) => {
    expect(difference(form, c, other, outcome)).toBeDefined();
    expect(digestOutcome(compared(form, c, other))).not.toBe(digestOutcome(compared(form, c, outcome)));
  });

  it("takes no notice of what processors keep differently", () => {
    expect(difference(form, c, outcome, outcome)).toBeUndefined();
    for (const at of [FX.FOP, FX.FOP + 2, FX.MXCSR_MASK, FX.ST0 + 10]) {
      expect(difference(form, c, { ...outcome, fx: changedFx(at) }, outcome)).toBeUndefined();
    }
  });
});

describe("the file of digests", () => {
  const origin = { processor: "AuthenticAMD family 1 model 2 stepping 3", selectors: [1, 2, 3, 4, 5, 6] };
  const digester = new FormDigester();
  for (let n = 0; n < CASES_PER_FORM; n++) digester.add(n * 0x1234567);
  const digest = digester.finish();

  it("gives back what went in", () => {
    const read = decodeDigests(encodeDigests(64, origin, [form], [digest]), 64, [form]);
    expect(read.origin).toEqual(origin);
    expect(read.digests[0]?.whole).toBe(digest.whole);
    expect(Array.from(read.digests[0]?.cases ?? [])).toEqual(Array.from(digest.cases));
  });

  it("is refused when it belongs to other forms or another generator", () => {
    const { forms, file } = suiteOf("vector", 64);
    expect(() => decodeDigests(readFileSync(file), 64, forms.slice(1))).toThrow(/stale/);
    expect(() => decodeDigests(encodeDigests(64, origin, [form], [digest]), 64, forms.slice(1, 2))).toThrow(/stale/);
  });
});

describe("the generator of cases", () => {
  it("makes the same case for the same number", () => {
    expect(generateCase(form, 7)).toEqual(generateCase(form, 7));
    expect(generateCase(form, 7)).not.toEqual(generateCase(form, 8));
  });
});
