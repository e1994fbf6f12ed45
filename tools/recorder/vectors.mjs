// Usage: node tools/recorder/vectors.mjs   Prints forms, cases, mismatches and what is not recorded.
import { fileURLToPath } from "node:url";
import { runnerImport } from "vite";

const { module } = await runnerImport(fileURLToPath(new URL("./report.ts", import.meta.url)), {
  logLevel: "error",
  resolve: { conditions: ["@tapvisor/source"] },
});
process.exitCode = module.report((line) => console.log(line)) === 0 ? 0 : 1;
