/** The value below which a share of the numbers lies, interpolated between neighbours. */
export function quantile(numbers, share) {
  if (numbers.length === 0) throw new RangeError("no numbers");
  const sorted = [...numbers].sort((x, y) => x - y);
  const at = (sorted.length - 1) * share;
  const below = sorted[Math.floor(at)];
  return below + (sorted[Math.ceil(at)] - below) * (at - Math.floor(at));
}

export const median = (numbers) => quantile(numbers, 0.5);

/**
 * What rounds say of a figure: each has a cost `before` and `after`, and the `ratio` of the two as the round measured it,
 * side by side, so that what slows the machine for a while slows both.
 */
export function summarize(rounds) {
  const before = median(rounds.map((round) => round.before));
  const after = median(rounds.map((round) => round.after));
  const ratios = rounds.map(({ ratio }) => ratio);
  return {
    before,
    after,
    ofMedians: after / before,
    paired: median(ratios),
    low: quantile(ratios, 0.1),
    high: quantile(ratios, 0.9),
  };
}
