import { describe, expect, it } from "vitest";
import { CASES_PER_FORM } from "./vectors/cases.js";
import { difference } from "./vectors/compare.js";
import { listForms } from "./vectors/forms.js";
import { evaluatorExecutor, runVectors } from "./vectors/run.js";

describe.each([64, 32, 16] as const)("integer instructions in %i-bit code", (bitness) => {
  it("end as on the recorded processor when the evaluator executes them", { timeout: 120_000 }, () => {
    const { suite, origin, mismatches } = runVectors(bitness, evaluatorExecutor());
    expect(origin.processor).toMatch(/^(GenuineIntel|AuthenticAMD) family \d+ model \d+ stepping \d+$/);
    expect(suite.cases.length).toBe(suite.forms.length * CASES_PER_FORM);
    expect(mismatches.slice(0, 20)).toEqual([]);
  });

  it("are recorded unless there is a reason not to", () => {
    const { forms, excluded } = listForms(bitness);
    expect(forms.length).toBeGreaterThan(bitness === 64 ? 1200 : 950);
    for (const { id, reason } of excluded) expect(reason, id).not.toBe("");
    const ids = forms.map((form) => form.id);
    expect(new Set(ids).size).toBe(ids.length);
  });
});

describe("the comparison with a recording", () => {
  it("notices a register, a flag, a byte of memory, the instruction pointer and the vector", () => {
    const [form] = listForms(64).forms;
    if (form === undefined) throw new Error("no form");
    const c = { bytes: Uint8Array.of(0x90), gprs: [0n, 0n], flags: 0, memory: new Uint8Array(8) };
    const outcome = { vector: undefined, flags: 0, ip: 1n, gprs: [0n, 0n], memory: [] };
    expect(difference(form, c, outcome, outcome)).toBeUndefined();
    for (const other of [
      { ...outcome, vector: 13 },
      { ...outcome, flags: 1 },
      { ...outcome, ip: 2n },
      { ...outcome, gprs: [0n, 1n] },
      { ...outcome, memory: [[0x2000, 1] as const] },
    ]) {
      expect(difference(form, c, other, outcome)).toBeDefined();
    }
  });
});
