import { execFile } from "node:child_process";
import { copyFileSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { decodeDigests } from "../../../packages/x86-isa/test/vectors/digests.js";
import type { Origin } from "../../../packages/x86-isa/test/vectors/program.js";
import { evaluatorExecutor } from "../../../packages/x86-isa/test/vectors/run.js";
import { suiteOf, type Suite } from "../../../packages/x86-isa/test/vectors/suite.js";
import { choose, FilterError } from "../choice.js";
import { recordOn, type Processor } from "../record.js";

const suite = suiteOf("integer", 16);
const committed = readFileSync(suite.file);
const { origin } = decodeDigests(committed, 16, suite.forms);
const FORM = "Bswap_r32";
const ONE_FORM = choose({ suite: "integer-16", form: `^${FORM}$` });

/** The evaluator in the place of a processor; with `wrong`, one that makes a mistake in every case. */
function stand(as: Origin, wrong = false): Processor {
  const execute = evaluatorExecutor();
  return {
    run: (bitness, _, cases) => ({
      origin: as,
      outcomes: cases.map((c) => {
        const outcome = execute(c, bitness, as);
        return wrong ? { ...outcome, gprs: outcome.gprs.map((value) => value ^ 1n) } : outcome;
      }),
    }),
  };
}

let folder: string;
let copy: URL;
const fileOf = (): URL => copy;
const print = (): void => undefined;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "record-test-"));
  const path = join(folder, "digests");
  copyFileSync(fileURLToPath(suite.file), path);
  copy = pathToFileURL(path);
});
afterEach(() => rmSync(folder, { recursive: true }));

/** Bytes in which two files differ. */
const changes = (a: Uint8Array, b: Uint8Array): number[] =>
  Array.from({ length: Math.max(a.length, b.length) }, (_, at) => at).filter((at) => a[at] !== b[at]);

describe("recording one form", () => {
  it("leaves the digests of all others as they are, byte for byte", () => {
    recordOn(stand(origin, true), ONE_FORM, print, fileOf);
    const after = readFileSync(copy);
    const header = committed.indexOf(0x0a) + 1;
    const formBytes = (committed.length - header) / suite.forms.length;
    const first = header + suite.forms.findIndex(({ id }) => id === FORM) * formBytes;
    const changed = changes(after, committed);
    expect(changed.length).toBeGreaterThan(formBytes / 2);
    expect(changed.filter((at) => at < first || at >= first + formBytes)).toEqual([]);
    expect(after.length).toBe(committed.length);
  });

  it("leaves the file as it is where the processor does what it did", () => {
    recordOn(stand(origin), ONE_FORM, print, fileOf);
    expect(changes(readFileSync(copy), committed)).toEqual([]);
  });

  it.each([
    ["processor", { ...origin, processor: "GenuineIntel family 6 model 1 stepping 1" }],
    ["selectors", { ...origin, selectors: [1, 2, 3, 4, 5, 6] }],
  ])("is refused where the file has another %s, with nothing written", (_, other) => {
    const recording = (): void => recordOn(stand(other), ONE_FORM, print, fileOf);
    expect(recording).toThrow(/^integer-16 was recorded on AuthenticAMD .* record all of its forms$/);
    expect(changes(readFileSync(copy), committed)).toEqual([]);
  });

  it("is refused where the file is of other forms", () => {
    const other: Suite = { ...suite, forms: suite.forms.filter(({ id }) => id !== "Cbw") };
    const choices = ONE_FORM.map(({ forms }) => ({ suite: other, forms }));
    expect(() => recordOn(stand(origin), choices, print, fileOf)).toThrow(/stale/);
  });
});

describe("a filter", () => {
  it.each([
    [{ suite: "vectr-64" }, /^--suite vectr-64 matches no suite; there are: integer-64, .*, vector-32$/],
    [{ form: "^Adps" }, /^--form \^Adps matches none of \d{4} forms in integer-64, .*; nearest: .*Addps/],
    [{ suite: "integer", form: "^Addps" }, /^--form \^Addps matches none of \d+ forms in integer-64, .*; nearest: Add/],
    [{ form: "^Cpuid$" }, /^--form \^Cpuid\$ matches no recorded form; left out: Cpuid \(result varies .*\)$/],
    [{ form: "(" }, /^--form \(: Invalid regular expression/],
    [{ suite: "(" }, /^--suite \(: Invalid regular expression/],
  ])("that matches nothing is refused: %o", (filter, message) => {
    expect(() => choose(filter)).toThrow(FilterError);
    expect(() => choose(filter)).toThrow(message);
  });

  it("chooses forms of the suites that have them", () => {
    const chosen = choose({ form: "^Addps_xmm_xmmm128 memory$" });
    expect(chosen.map(({ suite: { set, bitness }, forms }) => [set, bitness, forms.length])).toEqual([
      ["vector", 64, 1],
      ["vector", 32, 1],
    ]);
  });

  const run = (tool: string, args: readonly string[]): Promise<{ status: unknown; out: string; error: string }> =>
    new Promise((resolve) => {
      const script = fileURLToPath(new URL(`../${tool}.mjs`, import.meta.url));
      execFile(process.execPath, [script, ...args], (failure, out, error) => {
        resolve({ status: failure === null ? 0 : failure.code, out, error });
      });
    });

  it.each([
    ["record", ["vectr-64"], /^record: --suite vectr-64 matches no suite.*\n$/],
    ["record", ["--form", "^Adps"], /^record: --form \^Adps matches none of .*\n$/],
    ["vectors", ["--form", "^Adps"], /^vectors: --form \^Adps matches none of .*\n$/],
    ["vectors", ["--suite", "vectr-64"], /^vectors: --suite vectr-64 matches no suite.*\n$/],
  ])("ends %s %j with status 2 and one line", async (tool, args, line) => {
    const { status, out, error } = await run(tool, args);
    expect(error).toMatch(line);
    expect([status, out]).toEqual([2, ""]);
  });

  it("that left-out forms match too has their reasons printed", async () => {
    const { status, out } = await run("vectors", [
      "--form",
      "^Mov_(Sreg_rm16|rm16_Sreg register$)",
      "--suite",
      "integer-64",
      "--cases",
      "1",
      "--executor",
      "evaluator",
    ]);
    expect(status).toBe(0);
    expect(out).toMatch(/: 1 forms of 1 codes, 1 cases, 0 mismatches\n +not recorded, loads a segment register: 1 /);
  });
});
