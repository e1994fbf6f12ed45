// pnpm conformance FOLDER [options]: run the images of a suite, and compare with what is expected. Builds first if need be.
import { execFileSync } from "node:child_process";
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { runnerImport } from "vite";

const root = fileURLToPath(new URL("../..", import.meta.url));
if (!existsSync(`${root}/packages/cli/dist/index.js`)) {
  console.error("conformance: building first");
  execFileSync(process.execPath, [`${root}/node_modules/typescript/bin/tsc`, "-b"], { cwd: root, stdio: "inherit" });
}
const { module } = await runnerImport(fileURLToPath(new URL("main.ts", import.meta.url)), { logLevel: "error" });
process.exitCode = await module.main(process.argv.slice(2), {
  command: `${root}/packages/cli/bin/tapvisor.js`,
  expectations: fileURLToPath(new URL("expected.json", import.meta.url)),
  print: (text) => void process.stdout.write(text),
  printError: (text) => void process.stderr.write(text),
});
