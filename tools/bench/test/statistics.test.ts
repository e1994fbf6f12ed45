import { describe, expect, it } from "vitest";
import { median, quantile, summarize } from "../compare/statistics.mjs";

describe("statistics of rounds", () => {
  it("a quantile lies between its neighbours, whatever order the numbers have", () => {
    expect(quantile([40, 10, 30, 20], 0)).toBe(10);
    expect(quantile([40, 10, 30, 20], 1)).toBe(40);
    expect(quantile([40, 10, 30, 20], 0.5)).toBe(25);
    expect(quantile([10, 20, 30], 0.1)).toBeCloseTo(12);
    expect(median([7])).toBe(7);
    expect(() => median([])).toThrow(RangeError);
  });

  it("the numbers that are given stay in their order", () => {
    const numbers = [3, 1, 2];
    median(numbers);
    expect(numbers).toEqual([3, 1, 2]);
  });

  it("the ratio of medians and the ratio by round part where the machine slowed down for a while", () => {
    const rounds = [
      { before: 10, after: 11, ratio: 1.1 },
      { before: 30, after: 33, ratio: 1.1 },
      { before: 10, after: 33, ratio: 3.3 },
    ];
    const { before, after, ofMedians, paired, low, high } = summarize(rounds);
    expect([before, after, ofMedians, paired, low]).toEqual([10, 33, 3.3, 1.1, 1.1]);
    expect(high).toBeCloseTo(2.86);
  });
});
