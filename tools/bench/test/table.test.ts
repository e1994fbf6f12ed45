import { describe, expect, it } from "vitest";
import { report } from "../compare/table.mjs";

const figures = [
  { id: "machine", unit: "ns/call", control: true },
  { id: "slow", unit: "ns/exit" },
  { id: "even", unit: "ns/exit" },
  { id: "absent", unit: "ns/exit" },
];
const always = (before: number, ratio: number) => [{ before, after: before * ratio, ratio }];

describe("the table of a comparison", () => {
  it("has medians, ratios and spread of each figure, and marks those over the limit", () => {
    const results = { machine: always(1, 1.5), slow: always(200, 1.25), even: always(8, 1.02) };
    const { text, exceeding, missing } = report(figures, results, 1.03);
    const lines = text.split("\n").map((line) => line.replaceAll(/\s+/g, " "));
    expect(lines).toEqual([
      "figure unit before after of medians by round 10%..90%",
      "machine ns/call 1.000 1.500 1.500 1.500 1.500..1.500 the machine's own",
      "slow ns/exit 200 250 1.250 1.250 1.250..1.250 EXCEEDED",
      "even ns/exit 8.000 8.160 1.020 1.020 1.020..1.020",
      "absent ns/exit not measured",
      "over 1.03: slow; not measured: absent",
    ]);
    expect([exceeding, missing]).toEqual([["slow"], ["absent"]]);
  });

  it("a ratio that is the limit does not exceed it", () => {
    const { text, exceeding } = report(figures.slice(1, 2), { slow: always(1, 1.03) }, 1.03);
    expect(exceeding).toEqual([]);
    expect(text.endsWith("\nnone exceeds 1.03")).toBe(true);
  });
});
