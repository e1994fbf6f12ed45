import { mkdtempSync, readFileSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { compare, readExpectations, updateExpectations } from "../expectations.js";
import type { Result } from "../result.js";

const results = (rows: Readonly<Record<string, Result>>) => new Map(Object.entries(rows));
const file = () => join(mkdtempSync(join(tmpdir(), "tapvisor-expect-")), "expected.json");

describe("expectations", () => {
  it("part what is worse from what is better, and from what is new", () => {
    expect(
      compare(
        { a: "pass", b: "pass", c: "fail", d: "skip", e: "crash", f: "pass", g: "skip" },
        results({ a: "pass", b: "skip", c: "pass", d: "fail", e: "timeout", f: "crash", g: "unsupported", h: "pass" }),
      ),
    ).toEqual({
      regressions: ["b: pass -> skip", "d: skip -> fail", "f: pass -> crash", "g: skip -> unsupported"],
      improvements: ["c: fail -> pass"],
      unknown: ["h: pass"],
    });
  });

  it("are written over for the rows that ran, and for no other", () => {
    const path = file();
    expect(readExpectations(path)).toEqual({});
    updateExpectations(path, "i386", results({ a: "fail" }));
    updateExpectations(path, "x86_64", results({ a: "pass", b: "fail" }));
    updateExpectations(path, "x86_64", results({ b: "pass" }));
    expect(JSON.parse(readFileSync(path, "utf8"))).toEqual({ i386: { a: "fail" }, x86_64: { a: "pass", b: "pass" } });
  });

  it("with a result that does not exist are refused", () => {
    const path = file();
    writeFileSync(path, '{"i386":{"a":"good"}}');
    expect(() => readExpectations(path)).toThrow('i386 a: no result "good"');
  });
});
