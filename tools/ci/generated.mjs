// Run every generator and compare with what is committed.
import { execFileSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { generators } from "../generate/generators.mjs";

/** Contents of a file, or undefined where there is none. */
const contents = (file) => (existsSync(file) ? readFileSync(file, "utf8") : undefined);

let stale = 0;
let files = 0;
for (const { command, outputs } of generators) {
  const before = outputs.map(contents);
  execFileSync(process.execPath, command, { stdio: ["ignore", "ignore", "inherit"] });
  outputs.forEach((file, i) => {
    files++;
    if (contents(file) === before[i]) return;
    stale++;
    console.error(`generated: ${file} is stale; commit what \`node ${command.join(" ")}\` writes`);
  });
}
console.log(`generated: ${files} files, ${stale} stale`);
process.exitCode = stale === 0 && files > 0 ? 0 : 1;
