import { interpreterExecutor } from "../../packages/x86-cpu/test/engine/vector-rig.js";
import { CASES_PER_FORM, generateCase } from "../../packages/x86-isa/test/vectors/cases.js";
import { caseName, difference } from "../../packages/x86-isa/test/vectors/compare.js";
import type { Form } from "../../packages/x86-isa/test/vectors/forms.js";
import type { Origin } from "../../packages/x86-isa/test/vectors/program.js";
import {
  evaluatorExecutor,
  runVectors,
  type Executor,
  type Mismatch,
} from "../../packages/x86-isa/test/vectors/run.js";
import { choose, patternOf, type Choice, type Filter } from "./choice.js";
import { NativeProcessor, nativeObstacle } from "./native.js";

export type ExecutorName = "evaluator" | "interpreter";

export interface ReportOptions extends Filter {
  readonly executor: ExecutorName;
  readonly cases?: number;
  /** Lines about single mismatches at most. */
  readonly lines?: number;
}

type Print = (line: string) => void;

function byReason(items: readonly { readonly id: string; readonly reason: string }[], print: Print): void {
  const reasons = new Map<string, string[]>();
  for (const { id, reason } of items) reasons.set(reason, [...(reasons.get(reason) ?? []), id]);
  for (const [reason, ids] of reasons)
    print(`  not recorded, ${reason}: ${ids.length} (${ids.slice(0, 4).join(", ")}${ids.length > 4 ? ", ..." : ""})`);
}

/** What the recorded processor did in full is not committed: ask this one, and say so if it is another. */
function explain(found: readonly Mismatch[], origin: Origin, execute: Executor, print: Print): void {
  const native = new NativeProcessor();
  try {
    const seen = new Map<Form, number>();
    for (const { form, index, text } of found) {
      const count = seen.get(form) ?? 0;
      seen.set(form, count + 1);
      if (count >= 3) continue;
      const indices = index === undefined ? Array.from({ length: CASES_PER_FORM }, (_, n) => n) : [index];
      const cases = indices.map((n) => generateCase(form, n));
      const result = native.run(form.bitness, "stepped", cases);
      const other = result.origin.processor === origin.processor ? "" : ` (by ${result.origin.processor})`;
      let lines = 0;
      cases.forEach((c, n) => {
        const expected = result.outcomes[n];
        if (expected === undefined) return;
        let differs: string | undefined;
        try {
          differs = difference(form, c, execute(c, form.bitness, origin), expected);
        } catch (error) {
          differs = String(error);
        }
        if (differs === undefined) return;
        lines++;
        print(`  ${caseName(form, c)} case ${indices[n] ?? 0}: ${differs}${other}`);
      });
      if (lines === 0) print(`  ${text}: this processor (${result.origin.processor}) agrees, the recorded one did not`);
    }
  } finally {
    native.close();
  }
}

function reportSuite({ suite, forms }: Choice, execute: Executor, options: ReportOptions, print: Print): number {
  const { cases, lines = 60, executor } = options;
  const chosen = new Set(forms);
  const { origin, mismatches, notLifted, cases: run } = runVectors(suite, execute, cases, (form) => chosen.has(form));
  const codes = new Set(forms.map((form) => form.code)).size;
  print(
    `${suite.set}, ${suite.bitness}-bit code on ${origin.processor}, ${executor}: ${forms.length} forms of ${codes} codes, ` +
      `${run} cases, ${mismatches.length} mismatches`,
  );
  const pattern = patternOf("--form", options.form);
  if (executor === "evaluator")
    byReason(
      suite.excluded.filter(({ id }) => pattern.test(id)),
      print,
    );
  if (notLifted.length > 0)
    print(`  not written yet: ${notLifted.length} forms (${notLifted.map((form) => form.id).join(", ")})`);
  if (mismatches.length > 0) {
    const counts = new Map<string, number>();
    for (const { form } of mismatches) counts.set(form.id, (counts.get(form.id) ?? 0) + 1);
    print(`  mismatches by form: ${[...counts].map(([id, count]) => `${id} ${count}`).join(", ")}`);
    const shown = mismatches.slice(0, lines);
    const obstacle = nativeObstacle();
    if (obstacle === undefined) explain(shown, origin, execute, print);
    else for (const { text } of shown) print(`  ${text} (what was recorded: ${obstacle})`);
  }
  return mismatches.length + notLifted.length;
}

/**
 * Run the vectors on one executor; print what is recorded, what is left out and why, and what differs.
 *
 * @throws FilterError if the filter matches nothing
 */
export function report(options: ReportOptions, print: Print): number {
  let failures = 0;
  for (const choice of choose(options)) {
    const { bitness } = choice.suite;
    const execute = options.executor === "evaluator" ? evaluatorExecutor() : interpreterExecutor(bitness);
    failures += reportSuite(choice, execute, options, print);
  }
  return failures;
}
