import { readFileSync } from "node:fs";
import { expect, it } from "vitest";
import { MSR, reg } from "@tapvisor/x86-isa";
import { file, missing, tapvisor } from "./support/command.js";
import { debugExit, kernel } from "./support/kernels.js";

const readme = readFileSync(new URL("../../../README.md", import.meta.url), "utf8");

it("the plugin of the README does what the README says: the third RDMSR of the guest gets #GP", async () => {
  const [, text] = /```js\n(\/\/ third-read[^`]*)```/.exec(readme) ?? [];
  const plugin = file("third-read.mjs", text ?? "");
  // Without a handler, #GP ends in a triple fault.
  const reads = (count: number) =>
    file(
      `reads${count}`,
      kernel((a) => {
        for (let i = 0; i < count; i++) a.mov(reg.ecx, MSR.IA32_PAT).rdmsr();
        debugExit(a, 0);
      }),
    );
  const stopOf = async (image: string) => {
    const report = missing("readme.json");
    await tapvisor(["run", image, "--plugin", plugin, "--report", report]);
    return (JSON.parse(readFileSync(report, "utf8")) as { stop: string }).stop;
  };
  expect(await stopOf(reads(2))).toBe("debug-exit");
  // The plugin counted two; the next run goes on from there.
  expect(await stopOf(reads(1))).toBe("shutdown");
});

it("every option and command of the README is one that the command has", async () => {
  const [, ...blocks] = readme.split("```sh\n");
  const lines = blocks
    .flatMap((block) => (block.split("```")[0] ?? "").split("\n"))
    .filter((l) => l.includes("npx tapvisor"));
  expect(lines.length).toBeGreaterThan(3);
  const { output } = await tapvisor(["run", "--help"]);
  const help = output + (await tapvisor(["ops", "--help"])).output + (await tapvisor(["--help"])).output;
  for (const word of lines.flatMap((line) => line.replace(/#.*/, "").split(/\s+/))) {
    const [, option] = /^(--[a-z-]+)/.exec(word) ?? [];
    if (option !== undefined) expect(help).toContain(option);
  }
});
