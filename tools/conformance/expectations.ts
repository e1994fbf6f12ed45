import { readFileSync, writeFileSync } from "node:fs";
import { RESULTS, type Outcome, type Result, type SubTests } from "./result.js";

/** What stands in the place of a result where a row was not run to its end yet. */
export const NOT_MEASURED = "not measured";

/** What is known of a row: the result that is expected of it, and what was measured with that. */
export interface RowRecord {
  readonly result: Result | typeof NOT_MEASURED;
  /** Why, where the result does not say it. */
  readonly reason?: string;
  /** Guest instructions, in thousands. */
  readonly kiloInstructions?: number;
  readonly subTests?: SubTests;
}

/** Records by the names of rows. */
export type RowRecords = Readonly<Record<string, RowRecord>>;

export interface Expectations {
  /** Commit of the suite that the rows are of. */
  readonly commit?: string;
  /** By architecture, in the order of the suite's table. */
  readonly rows: Readonly<Record<string, RowRecords>>;
}

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
    return { rows: {} };
  }
  const read = JSON.parse(text) as Expectations;
  for (const [arch, rows] of Object.entries(read.rows)) {
    for (const [name, { result }] of Object.entries(rows)) {
      if (result !== NOT_MEASURED && !RESULTS.includes(result)) {
        throw new Error(`${path}: ${arch} ${name}: no result "${String(result)}"`);
      }
    }
  }
  return read;
}

/** What a run tells of its row. */
export function recordOf({ result, reason, instructions, subTests }: Outcome): RowRecord {
  return {
    result,
    ...(reason === undefined || reason === "" ? {} : { reason }),
    ...(instructions === 0 ? {} : { kiloInstructions: Math.round(instructions / 1000) }),
    ...(subTests === undefined ? {} : { subTests }),
  };
}

export interface Update {
  readonly arch: string;
  /** Names of all rows of the architecture, in the order of the suite's table. */
  readonly table: readonly string[];
  /** Commit of the suite, where it is known. */
  readonly commit: string | undefined;
}

/**
 * Write what was measured of these rows over what the file has of them. Other rows and architectures stay; rows of the
 * table that the file does not have are entered as not measured, so that none is left out unsaid.
 */
export function updateExpectations(
  path: string,
  { arch, table, commit }: Update,
  measured: ReadonlyMap<string, RowRecord>,
): void {
  const before = readExpectations(path);
  checkCommit(path, before.commit, commit);
  const known = before.rows[arch] ?? {};
  const names = new Set([...table, ...Object.keys(known)]);
  const rows: Record<string, RowRecord> = {};
  for (const name of names) rows[name] = measured.get(name) ?? known[name] ?? { result: NOT_MEASURED };
  const after = { commit: before.commit ?? commit, rows: { ...before.rows, [arch]: rows } };
  writeFileSync(path, `${JSON.stringify(after, undefined, 2)}\n`);
}

/** Refuse to mix results of two states of the suite in a file. */
export function checkCommit(path: string, recorded: string | undefined, commit: string | undefined): void {
  if (recorded === undefined || commit === undefined || commit.startsWith(recorded)) return;
  throw new Error(
    `${path} is of commit ${recorded} of the suite, and this one is ${commit}: nothing of it is taken over`,
  );
}

export function compare(expected: RowRecords, results: ReadonlyMap<string, Result>): Comparison {
  const regressions: string[] = [];
  const improvements: string[] = [];
  const unknown: string[] = [];
  for (const [name, result] of results) {
    const before = expected[name]?.result ?? NOT_MEASURED;
    const change = `${name}: ${before} -> ${result}`;
    if (before === NOT_MEASURED) unknown.push(`${name}: ${result}`);
    else if (before === result) continue;
    else if (RANK[result] > RANK[before]) improvements.push(change);
    else if (RANK[result] < RANK[before] || RANK[before] > 0) regressions.push(change);
  }
  return { regressions, improvements, unknown };
}
