import { CASES_PER_FORM } from "../../packages/x86-isa/test/vectors/cases.js";
import { evaluatorExecutor, runVectors } from "../../packages/x86-isa/test/vectors/run.js";

/** Print what is recorded, what is left out and why, and how the evaluator does. Returns the number of mismatches. */
export function report(print: (line: string) => void): number {
  let failures = 0;
  for (const bitness of [64, 32, 16] as const) {
    const { suite, origin, mismatches } = runVectors(bitness, evaluatorExecutor());
    failures += mismatches.length;
    const recorded = new Set(suite.forms.map((form) => form.code)).size;
    print(
      `${bitness}-bit code on ${origin.processor}: ${suite.forms.length} forms of ${recorded} codes, ` +
        `${suite.forms.length * CASES_PER_FORM} cases, ${mismatches.length} mismatches`,
    );
    const reasons = new Map<string, string[]>();
    for (const { id, reason } of suite.excluded) reasons.set(reason, [...(reasons.get(reason) ?? []), id]);
    for (const [reason, ids] of reasons)
      print(`  not recorded, ${reason}: ${ids.length} (${ids.slice(0, 4).join(", ")}${ids.length > 4 ? ", ..." : ""})`);
    for (const line of mismatches.slice(0, 50)) print(`  ${line}`);
  }
  return failures;
}
