import { summarize } from "./statistics.mjs";

const HEADER = ["figure", "unit", "before", "after", "of medians", "by round", "10%..90%"];
const WIDTHS = [18, 16, 10, 10, 12, 10, 14];

const line = (cells) =>
  cells
    .map((cell, i) => (i < 2 ? cell.padEnd(WIDTHS[i]) : cell.padStart(WIDTHS[i])))
    .join("")
    .trimEnd();
const number = (value) => (value < 10 ? value.toFixed(3) : value < 100 ? value.toFixed(2) : value.toFixed(0));
const ratio = (value) => value.toFixed(3);

/**
 * The table, its last line, and the figures that exceed the limit: those whose middle ratio of a round does. `results` has
 * the rounds of a figure by its name, none where it could not be measured.
 */
export function report(figures, results, limit) {
  const lines = [line(HEADER)];
  const exceeding = [];
  const missing = [];
  for (const { id, unit, control } of figures) {
    const rounds = results[id] ?? [];
    if (rounds.length === 0) {
      missing.push(id);
      lines.push(line([id, unit, "not measured"]));
      continue;
    }
    const { before, after, ofMedians, paired, low, high } = summarize(rounds);
    const exceeds = paired > limit && control !== true;
    if (exceeds) exceeding.push(id);
    const cells = [number(before), number(after), ratio(ofMedians), ratio(paired), `${ratio(low)}..${ratio(high)}`];
    const note = control === true ? "  the machine's own" : exceeds ? "  EXCEEDED" : "";
    lines.push(line([id, unit, ...cells]) + note);
  }
  const verdict = exceeding.length === 0 ? `none exceeds ${limit}` : `over ${limit}: ${exceeding.join(", ")}`;
  lines.push(missing.length === 0 ? verdict : `${verdict}; not measured: ${missing.join(", ")}`);
  return { text: lines.join("\n"), exceeding, missing };
}
