import { readFileSync, writeFileSync } from "node:fs";
import { RESULTS, type Result } from "./result.js";

/** Results by the names of rows, by architecture. */
export type Expectations = Readonly<Record<string, Readonly<Record<string, Result>>>>;

export interface Comparison {
  readonly regressions: readonly string[];
  readonly improvements: readonly string[];
  /** Rows that nothing is expected of. */
  readonly unknown: readonly string[];
}

/** From the best on. Where two are equally good, to go from one to the other is a regression: someone has to look. */
const RANK: Readonly<Record<Result, number>> = { pass: 2, skip: 1, unsupported: 1, fail: 0, timeout: 0, crash: 0 };

/** Expectations as they are committed; those of a file that does not exist are none. */
export function readExpectations(path: string): Expectations {
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch {
    return {};
  }
  const read = JSON.parse(text) as Expectations;
  for (const [arch, rows] of Object.entries(read)) {
    for (const [name, result] of Object.entries(rows)) {
      if (!RESULTS.includes(result)) throw new Error(`${path}: ${arch} ${name}: no result "${String(result)}"`);
    }
  }
  return read;
}

/** Write the results of these rows over what was expected of them; other rows and architectures stay. */
export function updateExpectations(path: string, arch: string, results: ReadonlyMap<string, Result>): void {
  const before = readExpectations(path);
  const after = { ...before, [arch]: { ...before[arch], ...Object.fromEntries(results) } };
  writeFileSync(path, `${JSON.stringify(after, undefined, 2)}\n`);
}

export function compare(expected: Readonly<Record<string, Result>>, results: ReadonlyMap<string, Result>): Comparison {
  const regressions: string[] = [];
  const improvements: string[] = [];
  const unknown: string[] = [];
  for (const [name, result] of results) {
    const before = expected[name];
    const change = `${name}: ${before ?? ""} -> ${result}`;
    if (before === undefined) unknown.push(`${name}: ${result}`);
    else if (before === result) continue;
    else if (RANK[result] > RANK[before]) improvements.push(change);
    else if (RANK[result] < RANK[before] || RANK[before] > 0) regressions.push(change);
  }
  return { regressions, improvements, unknown };
}
