// Writes what is derived from the contract: the classes of the call table, who calls the ops, and the reference pages.
// Run it after `tsc -b`: node tools/generate/contract.mjs
import { mkdirSync, writeFileSync } from "node:fs";
import { format, resolveConfig } from "prettier";
import { findOpCallers, opCallersSource } from "./op-callers.mjs";
import { opCalls } from "./op-calls.mjs";
import { errorsPage, hooksPage, opsPage } from "./reference-pages.mjs";

const callers = findOpCallers();
const outputs = [
  ["packages/kvm-core/src/dispatch/op-calls.generated.ts", opCalls],
  ["packages/cli/src/op-callers.generated.ts", () => opCallersSource(callers)],
  ["docs/reference/ops.md", () => opsPage(callers)],
  ["docs/reference/hooks.md", hooksPage],
  ["docs/reference/errors.md", errorsPage],
];

mkdirSync("docs/reference", { recursive: true });
for (const [file, make] of outputs) {
  const options = await resolveConfig(file);
  writeFileSync(file, await format(make(), { ...options, filepath: file }));
  console.log(`wrote ${file}`);
}
