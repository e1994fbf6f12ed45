import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join, relative } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { loadPlugin } from "../src/plugins.js";
import { tapvisor } from "./support/command.js";
import { blocksOf, danglingNames, pages, read, ROOT, typeErrors, type Block } from "./support/documentation.js";

const blocks = pages().flatMap((page) => blocksOf(page));
const inLanguage = (...languages: readonly string[]) => blocks.filter(({ language }) => languages.includes(language));
const isPlugin = ({ text }: Block) => text.includes("export default");

// Below the package, where its dependencies are found.
mkdirSync(join(ROOT, "packages/cli/coverage"), { recursive: true });
const folder = mkdtempSync(join(ROOT, "packages/cli/coverage/docs-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

let files = 0;
function load({ text, language }: Pick<Block, "text" | "language">) {
  const path = join(folder, `plugin${files++}.${language === "ts" ? "ts" : "mjs"}`);
  writeFileSync(path, text);
  return loadPlugin(path);
}

describe("the blocks of the pages", () => {
  it("type-check, if TypeScript, and a false one is noticed", () => {
    const programs = inLanguage("ts");
    expect(programs.length).toBeGreaterThan(3);
    const planted = [
      { page: "planted import", language: "ts", text: `import { nothing } from "@tapvisor/sdk";\nnothing();\n` },
      { page: "planted name", language: "ts", text: "machine.attach(interceptor);\nexport {};\n" },
    ];
    const errors = typeErrors([...programs, ...planted]);
    expect(errors.filter((error) => !error.startsWith("planted"))).toEqual([]);
    for (const { page } of planted) expect(errors.join("\n")).toContain(page);
  });

  it("load, if a plugin, as --plugin loads them", async () => {
    const plugins = inLanguage("ts", "js").filter(isPlugin);
    expect(plugins.length).toBeGreaterThan(3);
    for (const plugin of plugins) expect(await load(plugin), plugin.text).toHaveLength(1);
  });

  it("would be refused as plugins if they exported a backend alone, or knew no such op", async () => {
    const backend = `export default { name: "mine", vendor: "GenuineIntel", create() {} };`;
    await expect(load({ language: "js", text: backend })).rejects.toThrow("exports no interceptor");
    const unknown = `export default { name: "mine", ops: { get_msrs: { before() {} } } };`;
    await expect(load({ language: "js", text: unknown })).rejects.toThrow('unknown op "get_msrs"');
  });

  it("run, if they are commands that need no file", async () => {
    const commands = inLanguage("sh")
      .flatMap(({ text }) => text.split("\n"))
      .map((line) => /^npx tapvisor ((?:demo|ops)\b[^#]*)/.exec(line)?.[1]?.trim().split(/\s+/))
      .filter((words) => words !== undefined);
    expect(commands.length).toBeGreaterThan(2);
    for (const words of commands)
      expect(await tapvisor(words), words.join(" ")).toMatchObject({ status: 0, errors: "" });
  });
});

describe("the pages", () => {
  it("name scripts, tools and pages that there are, and no command of pnpm's where npm serves", () => {
    expect(pages().flatMap((page) => danglingNames(page))).toEqual([]);
    const planted = "`npm run nothing`, `pnpm bench`, `node tools/nothing.mjs`, [a page](docs/nothing.md)";
    expect(danglingNames("README.md", planted)).toHaveLength(4);
  });

  it("order the floors of kvm-core as its imports are", () => {
    const [, table = ""] = /## The floors of kvm-core\n([\s\S]*?)\n## /.exec(read("ARCHITECTURE.md")) ?? [];
    const floors = table
      .split("\n")
      .filter((line) => line.startsWith("|"))
      .map((line) => [...line.matchAll(/`([\w-]+(?:\/|\.ts))`/g)].map(([, name = ""]) => name.replace("/", "")));
    expect(climbing(floors)).toEqual([]);
    expect(climbing([...floors].reverse()).length).toBeGreaterThan(10);
  });
});

/** Imports from a floor that is below in the table; files on no floor, too. */
function climbing(floors: readonly (readonly string[])[]): readonly string[] {
  const source = join(ROOT, "packages/kvm-core/src");
  const floorOf = (path: string) => floors.findIndex((names) => names.includes(path.split("/")[0] ?? ""));
  const wrong: string[] = [];
  for (const file of readdirSync(source, { recursive: true, encoding: "utf8" })) {
    if (!file.endsWith(".ts") || file === "index.ts") continue;
    const floor = floorOf(file);
    if (floor < 0) wrong.push(`${file} is on no floor`);
    for (const [, name = ""] of readFileSync(join(source, file), "utf8").matchAll(/ from "(\.[^"]+)\.js"/g)) {
      const imported = relative(source, join(source, file, "..", `${name}.ts`));
      if (floorOf(imported) > floor) wrong.push(`${file} imports ${imported}`);
    }
  }
  return wrong;
}
