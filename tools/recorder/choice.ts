import type { Form } from "../../packages/x86-isa/test/vectors/forms.js";
import { suiteOf, SUITES, type Suite } from "../../packages/x86-isa/test/vectors/suite.js";

/** What is recorded or reported: without a pattern, all. */
export interface Filter {
  /** Regular expression on names of suites, such as `vector-64`. */
  readonly suite?: string | undefined;
  /** Regular expression on names of forms, such as `^Addps`. */
  readonly form?: string | undefined;
}

/** A suite, with those of its forms that a filter chooses. */
export interface Choice {
  readonly suite: Suite;
  readonly forms: readonly Form[];
}

/** A filter that cannot be meant: its message is one line for the user. */
export class FilterError extends Error {}

const NEAREST = 5;

export const suiteName = ({ set, bitness }: Suite): string => `${set}-${bitness}`;

/** The regular expression of an option; one that matches everything if the option is not given. */
export function patternOf(option: string, text: string | undefined): RegExp {
  try {
    return new RegExp(text ?? "");
  } catch (error) {
    throw new FilterError(`${option} ${String(text)}: ${error instanceof Error ? error.message : String(error)}`);
  }
}

function common(a: string, b: string): number {
  const most = Math.min(a.length, b.length);
  let [start, end] = [0, 0];
  while (start < most && a[start] === b[start]) start++;
  while (end < most - start && a.at(-1 - end) === b.at(-1 - end)) end++;
  return start + end;
}

/** The names that have most in common with a pattern, at their start and end. */
function nearest(pattern: string, names: readonly string[]): readonly string[] {
  const wanted = pattern.replace(/[^\w]/g, "").toLowerCase();
  return names
    .map((name) => ({ name, score: 2 * common(wanted, name.toLowerCase()) - name.length }))
    .sort((a, b) => b.score - a.score)
    .slice(0, NEAREST)
    .map(({ name }) => name);
}

function noForm(pattern: string, suites: readonly Suite[]): FilterError {
  const matches = patternOf("--form", pattern);
  const leftOut = new Map(
    suites.flatMap(({ excluded }) =>
      excluded.filter(({ id }) => matches.test(id)).map(({ id, reason }) => [id, `${id} (${reason})`] as const),
    ),
  );
  if (leftOut.size > 0)
    return new FilterError(`--form ${pattern} matches no recorded form; left out: ${[...leftOut.values()].join(", ")}`);
  const ids = suites.flatMap(({ forms }) => forms.map(({ id }) => id));
  const mnemonics = [...new Set(ids.map((id) => id.replace(/[_ ].*/, "")))];
  return new FilterError(
    `--form ${pattern} matches none of ${ids.length} forms in ${suites.map(suiteName).join(", ")}; ` +
      `nearest: ${nearest(pattern, mnemonics).join(", ")}`,
  );
}

/**
 * The suites, and the forms in them, that a filter chooses; suites without such a form are left out.
 *
 * @throws FilterError if that is nothing, with what there is
 */
export function choose(filter: Filter): readonly Choice[] {
  const [suitePattern, formPattern] = [patternOf("--suite", filter.suite), patternOf("--form", filter.form)];
  const all = SUITES.map(([set, bitness]) => suiteOf(set, bitness));
  const suites = all.filter((suite) => suitePattern.test(suiteName(suite)));
  if (suites.length === 0)
    throw new FilterError(
      `--suite ${String(filter.suite)} matches no suite; there are: ${all.map(suiteName).join(", ")}`,
    );
  const choices = suites.map((suite) => ({ suite, forms: suite.forms.filter(({ id }) => formPattern.test(id)) }));
  if (choices.every(({ forms }) => forms.length === 0)) throw noForm(filter.form ?? "", suites);
  return choices.filter(({ forms }) => forms.length > 0);
}
