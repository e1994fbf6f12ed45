#!/usr/bin/env node
// The command. In a clone that is not built yet it says so, instead of failing on a missing module.
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";

/** What nothing else caught: the host failed. */
function hostFailed(error) {
  const text = error instanceof Error ? `${error.name}: ${error.message}` : String(error);
  process.stderr.write(`tapvisor: the host failed: ${text.split("\n")[0]}\n`);
  process.exit(4);
}

process.on("uncaughtException", hostFailed);
// Whoever reads the output may go away: `tapvisor ops | head` is no failure.
process.stdout.on("error", (error) => (error.code === "EPIPE" ? process.exit(0) : hostFailed(error)));

const main = new URL("../dist/main.js", import.meta.url);
if (existsSync(fileURLToPath(main))) {
  try {
    const { main: command } = await import(main.href);
    process.exitCode = await command(process.argv.slice(2));
  } catch (error) {
    hostFailed(error);
  }
} else {
  process.stderr.write("tapvisor: not built yet; run `npm start` in the repository first\n");
  process.exitCode = 4;
}
