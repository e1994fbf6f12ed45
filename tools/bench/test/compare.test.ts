import { execFileSync, spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import { resolveCommit } from "../compare/checkout.mjs";
import { chooseFigures, FIGURES } from "../compare/figures.mjs";
import { execute, Interrupted } from "../compare/processes.mjs";
import { exported } from "../compare/side-packages.mjs";

const root = fileURLToPath(new URL("../../..", import.meta.url));
const bench = (...args: string[]) =>
  spawnSync(process.execPath, ["tools/bench/run.mjs", ...args], { cwd: root, encoding: "utf8" });
const ids = (figures: readonly { id: string }[]) => figures.map(({ id }) => id);

describe("pnpm bench compare", () => {
  it.each([
    [["compare"], "bench: missing required argument 'commit'"],
    [["compare", "no-such-commit"], 'bench: there is no commit "no-such-commit" in this repository'],
    [["compare", "--rounds", "1.5", "HEAD"], 'bench: --rounds is "1.5": must be a count'],
    [["compare", "--limit", "-1", "HEAD"], 'bench: --limit is "-1": must be a ratio above 0'],
    [["compare", "--only", "sieve,nothing", "HEAD"], "bench: no figure nothing; there are: "],
    [["nothing"], "bench: unknown bench nothing; there are: "],
  ])("%j is refused in one line", (args, message) => {
    const { status, stdout, stderr } = bench(...args);
    expect([status, stdout, stderr.trim().split("\n").length]).toEqual([2, "", 1]);
    expect(stderr).toContain(message);
  });

  it("takes figures by their own names and by those of groups, in the order of the table", () => {
    expect(chooseFigures(undefined)).toBe(FIGURES);
    expect(ids(chooseFigures(["exits", "sieve"]))).toEqual([
      "sieve", "exit-cpuid", "exit-port-write", "exit-mmio-write", "exit-mmio-read",
    ]); // prettier-ignore
    expect(new Set(ids(FIGURES)).size).toBe(FIGURES.length);
  });

  it("takes a commit by any name that git knows, and nothing else", () => {
    const head = execFileSync("git", ["rev-parse", "HEAD"], { cwd: root, encoding: "utf8" }).trim();
    expect(resolveCommit(root, "HEAD")).toBe(head);
    expect(() => resolveCommit(root, "HEAD:package.json")).toThrow("there is no commit");
    expect(() => resolveCommit(root, "--all")).toThrow("there is no commit");
  });

  it("finds what a commit exports by the first of its names, and says which it looked for", () => {
    expect(exported({ old: 1 }, "new", "old")).toBe(1);
    expect(exported({ old: 1, new: 2 }, "new", "old")).toBe(2);
    expect(() => exported({}, "new", "old")).toThrow("that commit exports no new or old");
  });

  it("ends what it started when it is told to end itself, and says why a program failed", async () => {
    const controller = new AbortController();
    const endless = execute(process.execPath, ["-e", "setInterval(() => {}, 1000)"], { signal: controller.signal });
    controller.abort(new Interrupted("SIGINT"));
    await expect(endless).rejects.toThrow("ended by SIGINT");
    const { signal } = new AbortController();
    await expect(execute(process.execPath, ["-e", "throw new Error('no luck')"], { signal })).rejects.toThrow(
      "no luck",
    );
  });
});
