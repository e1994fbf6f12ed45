import type { RunReport } from "tapvisor";

/** How a row ended. */
export const RESULTS = ["pass", "fail", "skip", "timeout", "crash", "unsupported"] as const;
export type Result = (typeof RESULTS)[number];

/** Counts of the sub-tests, from the line that the suite ends its output with. */
export interface SubTests {
  readonly tests: number;
  readonly failed: number;
  readonly skipped: number;
}

export interface Outcome {
  readonly result: Result;
  /** Why, where the result does not say it. */
  readonly reason?: string;
  readonly subTests?: SubTests;
  /** Sub-tests by name that failed. */
  readonly failures: readonly string[];
  readonly instructions: number;
  /** VM exits, whoever handled them. */
  readonly exits: number;
  readonly seconds: number;
  /** It was not run, or not to an end, for a cause outside the guest: it says nothing of the machine. */
  readonly unmeasured?: true;
}

/** Values that the suite writes to the debug-exit port: report_summary() of its lib/report.c, and abort(). */
const EXIT_VALUE = { PASS: 0, SKIP: 38, ABORT: 63 } as const;

/** Judge a run as run_tests.sh does: by the value that the guest ended with. */
export function judge(report: RunReport, output: string, seconds: number): Outcome {
  const lines = output.split(/\r?\n/);
  const subTests = summaryOf(lines);
  const failures = lines.flatMap((line) => /^FAIL: (.*)$/.exec(line)?.[1] ?? []);
  const exits = Object.entries(report.exits).reduce((sum, [name, n]) => sum + (name.startsWith("user:") ? 0 : n), 0);
  const { result, reason } = resultOf(report, lines);
  return {
    result,
    ...(reason === undefined ? {} : { reason }),
    ...(subTests === undefined ? {} : { subTests }),
    failures,
    instructions: report.instructions,
    exits,
    seconds,
  };
}

function resultOf({ stop, value, detail, missing }: RunReport, lines: readonly string[]) {
  const lacks = Object.keys(missing);
  const because = lacks.length === 0 ? "" : `; the processor lacks: ${lacks.slice(0, 3).join(", ")}`;
  switch (stop) {
    case "debug-exit":
      if (value === EXIT_VALUE.PASS) return { result: "pass" } as const;
      if (value === EXIT_VALUE.SKIP) return { result: "skip", reason: skipReason(lines) } as const;
      return { result: "fail", reason: value === EXIT_VALUE.ABORT ? `aborted${because}` : because.slice(2) } as const;
    case "budget":
      return { result: "timeout", reason: `its instructions are used up${because}` } as const;
    case "halt":
    case "shutdown":
      return { result: "crash", reason: `${detail ?? stop}${because}` } as const;
    case "internal-error":
    case "fail-entry":
    case "host-error":
      return { result: "crash", reason: `${stop}: ${detail ?? ""}${because}` } as const;
  }
}

/** Of the sub-test that was skipped; some tests end at once instead, and say why in the line before their summary. */
function skipReason(lines: readonly string[]): string | undefined {
  const skipped = lines.flatMap((line) => /^SKIP: (.*)$/.exec(line)?.[1] ?? [])[0];
  const summary = lines.findLastIndex((line) => line.startsWith("SUMMARY: 0 tests"));
  return skipped ?? (summary > 0 ? lines[summary - 1] : undefined);
}

function summaryOf(lines: readonly string[]): SubTests | undefined {
  const line = lines.findLast((text) => text.startsWith("SUMMARY: "));
  if (line === undefined) return undefined;
  const count = (what: RegExp) => Number(what.exec(line)?.[1] ?? 0);
  return {
    tests: count(/([0-9]+) tests/),
    failed: count(/([0-9]+) unexpected failures/),
    skipped: count(/([0-9]+) skipped/),
  };
}
