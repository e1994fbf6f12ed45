import { mkdtempSync, readFileSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { compare, readExpectations, recordOf, updateExpectations, type RowRecord } from "../expectations.js";
import type { Result } from "../result.js";

const file = () => join(mkdtempSync(join(tmpdir(), "tapvisor-expect-")), "expected.json");
const records = (rows: Readonly<Record<string, RowRecord["result"]>>) =>
  Object.fromEntries(Object.entries(rows).map(([name, result]) => [name, { result }]));
const measured = (rows: Readonly<Record<string, Result>>) => new Map(Object.entries(records(rows)));
const read = (path: string): unknown => JSON.parse(readFileSync(path, "utf8"));

describe("expectations", () => {
  it("part what is worse from what is better, and from what is new", () => {
    const expected = records({
      a: "pass", b: "pass", c: "fail", d: "skip", e: "crash", f: "pass", g: "skip", i: "not measured",
    }); // prettier-ignore
    const results = {
      a: "pass", b: "skip", c: "pass", d: "fail", e: "timeout", f: "crash", g: "unsupported", h: "pass", i: "fail",
    } as const; // prettier-ignore
    expect(compare(expected, new Map(Object.entries(results)))).toEqual({
      regressions: ["b: pass -> skip", "d: skip -> fail", "f: pass -> crash", "g: skip -> unsupported"],
      improvements: ["c: fail -> pass"],
      unknown: ["h: pass", "i: fail"],
    });
  });

  it("are written over for the rows that ran, and for no other", () => {
    const path = file();
    const update = { table: ["a", "b"], commit: undefined };
    expect(readExpectations(path)).toEqual({ rows: {} });
    updateExpectations(path, { ...update, arch: "i386", table: ["a"] }, measured({ a: "fail" }));
    updateExpectations(path, { ...update, arch: "x86_64" }, measured({ a: "pass", b: "fail" }));
    updateExpectations(path, { ...update, arch: "x86_64" }, measured({ b: "pass" }));
    expect(read(path)).toEqual({
      rows: { i386: { a: { result: "fail" } }, x86_64: { a: { result: "pass" }, b: { result: "pass" } } },
    });
  });

  it("have every row of the table, in its order, whether it was measured or not", () => {
    const path = file();
    writeFileSync(path, JSON.stringify({ rows: { i386: { gone: { result: "pass" }, c: { result: "skip" } } } }));
    updateExpectations(path, { arch: "i386", table: ["a", "b", "c"], commit: undefined }, measured({ b: "pass" }));
    expect(Object.entries(readExpectations(path).rows["i386"] ?? {}).map(([name, row]) => [name, row.result])).toEqual([
      ["a", "not measured"],
      ["b", "pass"],
      ["c", "skip"],
      ["gone", "pass"],
    ]);
  });

  it("of one commit of the suite take nothing over from another", () => {
    const path = file();
    const update = { arch: "i386", table: ["a"] };
    updateExpectations(path, { ...update, commit: "1da1819e" }, measured({ a: "fail" }));
    const before = read(path);
    expect(() => updateExpectations(path, { ...update, commit: "1ee88e45" }, measured({ a: "pass" }))).toThrow(
      "is of commit 1da1819e of the suite, and this one is 1ee88e45",
    );
    expect(read(path)).toEqual(before);
    updateExpectations(path, { ...update, commit: "1da1819ec0de" }, measured({ a: "pass" }));
    expect(read(path)).toEqual({ commit: "1da1819e", rows: { i386: { a: { result: "pass" } } } });
  });

  it("keep of a run its reason, its instructions in thousands and its sub-tests, where there are any", () => {
    const run = { failures: [], instructions: 74_691, exits: 9, seconds: 0.8 };
    const subTests = { tests: 1, failed: 0, skipped: 1 };
    expect(recordOf({ ...run, result: "skip", reason: "no such feature", subTests })).toEqual({
      result: "skip",
      reason: "no such feature",
      kiloInstructions: 75,
      subTests,
    });
    expect(recordOf({ ...run, result: "pass" })).toEqual({ result: "pass", kiloInstructions: 75 });
    const notRun = { ...run, instructions: 0, result: "unsupported", reason: "-m 4g" } as const;
    expect(recordOf(notRun)).toEqual({ result: "unsupported", reason: "-m 4g" });
  });

  it("with a result that does not exist are refused", () => {
    const path = file();
    writeFileSync(path, '{"rows":{"i386":{"a":{"result":"good"}}}}');
    expect(() => readExpectations(path)).toThrow('i386 a: no result "good"');
  });
});
