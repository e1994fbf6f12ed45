// Usage: node tools/recorder/record.mjs   (x86-64 Linux with gcc and gcc -m32)
import { fileURLToPath } from "node:url";
import { runnerImport } from "vite";

const { module } = await runnerImport(fileURLToPath(new URL("./record.ts", import.meta.url)), {
  logLevel: "error",
  resolve: { conditions: ["@tapvisor/source"] },
});
module.record((line) => console.log(line));
