import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { build } from "vite";
import { expect, it } from "vitest";
import type * as Isa from "../src/index.js";

const file = (relative: string): string => fileURLToPath(new URL(relative, import.meta.url));

it("can be bundled for a browser, and decodes there without anything of Node", { timeout: 120_000 }, async () => {
  execFileSync(process.execPath, [file("../../../tools/generate/iced-browser.mjs")]);
  const result = await build({
    configFile: false,
    root: file(".."),
    logLevel: "error",
    resolve: { conditions: ["@tapvisor/source", "browser", "module", "import"] },
    build: {
      write: false,
      minify: false,
      target: "es2022",
      lib: { entry: file("../src/index.ts"), formats: ["es"], fileName: "isa" },
    },
  });
  const [bundle] = Array.isArray(result) ? result : [result];
  if (bundle === undefined || !("output" in bundle)) throw new Error("nothing was built");
  const [chunk, ...others] = bundle.output;
  expect(others).toEqual([]);
  expect(chunk.imports).toEqual([]);
  expect(chunk.code).not.toMatch(/^import /m);
  const folder = mkdtempSync(join(tmpdir(), "isa-browser-"));
  try {
    const path = join(folder, "isa.mjs");
    writeFileSync(path, chunk.code);
    const isa = (await import(/* @vite-ignore */ pathToFileURL(path).href)) as typeof Isa;
    const decoded = isa.decode(Uint8Array.of(0x48, 0x01, 0xd8), 0n, 64);
    expect(decoded.kind === "instruction" && isa.codeInfo(decoded.instruction.code).syntax).toBe("ADD r/m64, r64");
  } finally {
    rmSync(folder, { recursive: true });
  }
});
