// Writes what is derived from the contract: the classes of the call table, and the reference pages.
// Run it after `tsc -b`: node tools/generate/contract.mjs
import { mkdirSync, writeFileSync } from "node:fs";
import { format, resolveConfig } from "prettier";
import { opCalls } from "./op-calls.mjs";
import { errorsPage, hooksPage, opsPage } from "./reference-pages.mjs";

const outputs = [
  ["packages/kvm-core/src/dispatch/op-calls.generated.ts", opCalls],
  ["docs/reference/ops.md", opsPage],
  ["docs/reference/hooks.md", hooksPage],
  ["docs/reference/errors.md", errorsPage],
];

mkdirSync("docs/reference", { recursive: true });
for (const [file, make] of outputs) {
  const options = await resolveConfig(file);
  writeFileSync(file, await format(make(), { ...options, filepath: file }));
  console.log(`wrote ${file}`);
}
