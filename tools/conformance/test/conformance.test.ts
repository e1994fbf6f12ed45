import { existsSync, mkdtempSync, readFileSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { Assembler, reg } from "@tapvisor/x86-isa";
import { beforeAll, describe, expect, it } from "vitest";
import type { Expectations } from "../expectations.js";
import { main } from "../main.js";

const { eax, edx, al, dx } = reg;
const root = fileURLToPath(new URL("../../..", import.meta.url));
const folder = mkdtempSync(join(tmpdir(), "tapvisor-suite-"));
const expectations = join(folder, "expected.json");

/** A Multiboot image that prints and then does what `end` says. */
function image(name: string, text: string, end: (a: Assembler) => void): void {
  const a = new Assembler(32);
  a.label("header").dd(0x1badb002, 1 << 16, -(0x1badb002 + (1 << 16)) >>> 0);
  a.dd("header", "header", 0, 0, "entry");
  a.label("entry").mov(edx, 0x3f8);
  for (const character of text) a.mov(al, character.charCodeAt(0)).out(dx, al);
  end(a);
  a.label("halt").cli().hlt().jmp("halt");
  writeFileSync(join(folder, name), a.assemble(0x10_0000).bytes);
}
const exit = (value: number) => (a: Assembler) => void a.mov(eax, value).out(0xf4, eax);

async function conformance(...args: string[]) {
  let output = "";
  let errors = "";
  const status = await main([folder, ...args], {
    command: join(root, "packages/cli/bin/tapvisor.js"),
    expectations,
    print: (text) => void (output += text),
    printError: (text) => void (errors += text),
  });
  return { status, output, errors };
}

// The command is run as it is built, in processes of its own.
describe.skipIf(!existsSync(join(root, "packages/cli/dist/index.js")))("conformance over a folder of images", () => {
  beforeAll(() => {
    image("good.flat", "PASS: a\r\nSUMMARY: 3 tests, 1 skipped\r\n", exit(0));
    image("bad.flat", "FAIL: b\r\nSUMMARY: 2 tests, 1 unexpected failures\r\n", exit(1));
    image("skipping.flat", "SKIP: no such feature\r\nSUMMARY: 1 tests, 1 skipped\r\n", exit(38));
    image("endless.flat", "", (a) => a.label("again").inc(eax).jmp("again"));
    image("lost.flat", "", (a) => a.ud2());
    const row = (name: string, rest = "") => `[${name}]\nfile = ${name}.flat\n${rest}\n`;
    writeFileSync(
      join(folder, "unittests.cfg"),
      ["good", "bad", "skipping", "lost", "gone"].map((name) => row(name)).join("") +
        row("endless", "timeout = 0.01") +
        "[device]\nfile = good.flat\nqemu_params = -device edu\n[small]\nfile = good.flat\narch = i386\n",
    );
  });

  it("tells how each row ended, with its sub-tests and instructions", async () => {
    const { status, output } = await conformance("--jobs", "2");
    const rows = new Map(output.split("\n").map((line) => [line.split(/\s+/)[0], line.replaceAll(/\s+/g, " ")]));
    expect(rows.get("good")).toMatch(/^good pass 3 0 1 \d+ \d+ [\d.]+$/);
    expect(rows.get("bad")).toMatch(/^bad fail 2 1 0 \d+ \d+ [\d.]+ b$/);
    expect(rows.get("skipping")).toMatch(/^skipping skip 1 0 1 .* no such feature$/);
    expect(rows.get("endless")).toMatch(/^endless timeout 1,000,000 \d+ [\d.]+ its instructions are used up$/);
    expect(rows.get("lost")).toMatch(/^lost crash .* shutdown$/);
    expect(rows.get("gone")).toBe("gone skip gone.flat is not among the images");
    expect(rows.get("device")).toBe("device unsupported -device edu");
    expect(rows.has("small")).toBe(false);
    expect(output).toContain(
      "7 rows: 1 pass, 1 fail, 2 skip, 1 timeout, 1 crash, 1 unsupported; 6 sub-tests, 1 failed",
    );
    expect(status).toBe(0);
  });

  it("fails on a regression alone, and takes new results over where told to", async () => {
    const only = ["--only", "good,bad,gone"];
    expect((await conformance(...only, "--update")).status).toBe(0);
    expect((await conformance("--only", "endless", "--limit", "0.01", "--update")).output).toContain("given up after");
    const { rows } = JSON.parse(readFileSync(expectations, "utf8")) as Expectations;
    expect(rows["x86_64"]).toMatchObject({
      good: { result: "pass", subTests: { tests: 3, failed: 0, skipped: 1 } },
      bad: { result: "fail" },
      gone: { result: "skip", reason: "gone.flat is not among the images" },
      // Given up by the clock, which says nothing of the machine; not asked for.
      endless: { result: "not measured" },
      lost: { result: "not measured" },
    });
    expect((await conformance(...only)).output).not.toMatch(/regressions|improvements/);
    writeFileSync(expectations, '{"rows":{"x86_64":{"good":{"result":"fail"},"bad":{"result":"pass"}}}}');
    const { status, output } = await conformance(...only);
    expect(status).toBe(1);
    expect(output).toContain("regressions:\n  bad: pass -> fail\n");
    expect(output).toContain("improvements:\n  good: fail -> pass\n");
    expect((await conformance("--only", "good")).status).toBe(0);
  });

  it("prints the commands that it would run", async () => {
    const { output } = await conformance("--list", "--only", "endless");
    expect(output).toMatch(/^endless: tapvisor run .*endless.flat --machine kut .* --max-instructions 1000000\n$/);
  });

  it.each([
    [["--only", "nobody"], "the table has no row nobody"],
    [["--config", "/no/table"], "/no/table: no such file; name the suite's table with --config"],
    [["--arch", "vax"], "argument 'vax' is invalid"],
    [["--jobs", "0"], '--jobs is "0": must be a number above 0'],
  ])("%j is refused in one line", async (args, message) => {
    const { status, errors } = await conformance(...args);
    expect([status, errors.split("\n").length]).toEqual([2, 2]);
    expect(errors).toContain(message);
  });
});
