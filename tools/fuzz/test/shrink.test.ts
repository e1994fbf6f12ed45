import { describe, expect, it } from "vitest";
import { shrink } from "../shrink.js";

const numbers = Array.from({ length: 50 }, (_, n) => n);

describe("shrinking", () => {
  it.each([[[17]], [[0]], [[49]], [[3, 4]], [[1, 25, 48]]])("leaves %j, which it takes to fail", (needed) => {
    const fails = (candidate: readonly number[]): boolean => needed.every((n) => candidate.includes(n));
    expect(shrink(numbers, (candidates) => candidates.find(fails))).toEqual(needed);
  });

  it("leaves a list as it is when nothing shorter fails", () => {
    expect(shrink([1, 2, 3], () => undefined)).toEqual([1, 2, 3]);
  });

  it("never asks about an empty list", () => {
    shrink([1, 2, 3, 4], (candidates) => {
      for (const candidate of candidates) expect(candidate.length).toBeGreaterThan(0);
      return candidates[0];
    });
  });
});
