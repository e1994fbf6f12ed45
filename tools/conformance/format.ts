import type { Outcome } from "./result.js";

const HEADER = ["test", "result", "sub-tests", "failed", "skipped", "instructions", "exits", "seconds", ""] as const;
const count = (value: number | undefined): string => (value === undefined ? "" : value.toLocaleString("en-US"));

/** Widths of the columns: rows are printed as they end, before the others are known. */
function line(cells: readonly string[], nameWidth: number): string {
  const widths = [nameWidth, 11, 9, 6, 7, 15, 11, 8, 0];
  return cells
    .map((cell, i) => (i < 2 || i === cells.length - 1 ? cell.padEnd(widths[i] ?? 0) : cell.padStart(widths[i] ?? 0)))
    .join("  ")
    .trimEnd();
}

export const formatHeader = (nameWidth: number): string => line(HEADER, nameWidth);

export function formatRow(name: string, outcome: Outcome, nameWidth: number): string {
  const { result, reason, subTests, failures, instructions, exits, seconds } = outcome;
  const [first] = failures;
  const more = failures.length > 1 ? ` and ${failures.length - 1} more` : "";
  const note = first === undefined ? (reason ?? "") : `${first}${more}`;
  return line(
    [
      name,
      result,
      count(subTests?.tests),
      count(subTests?.failed),
      count(subTests?.skipped),
      instructions === 0 ? "" : count(instructions),
      instructions === 0 ? "" : count(exits),
      seconds === 0 ? "" : seconds.toFixed(1),
      note.slice(0, 100),
    ],
    nameWidth,
  );
}
