#!/usr/bin/env node
// The command. In a clone that is not built yet it says so, instead of failing on a missing module.
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";

const main = new URL("../dist/main.js", import.meta.url);
if (existsSync(fileURLToPath(main))) {
  const { main: command } = await import(main.href);
  process.exitCode = await command(process.argv.slice(2));
} else {
  process.stderr.write("tapvisor: not built yet; run `npm start` in the repository first\n");
  process.exitCode = 4;
}
