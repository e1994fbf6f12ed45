// Check the one-way imports, and that there is no circle; refuse to pass on a run that looked at nothing.
import { existsSync, readdirSync } from "node:fs";
import { checkImports } from "./imports.mjs";

const folders = readdirSync("packages").map((name) => `packages/${name}`);
const { modules, violations } = await checkImports([
  ...folders,
  ...["examples"].filter((folder) => existsSync(folder)),
]);
let failed = violations.length > 0;
for (const violation of violations) console.error(violation);
for (const folder of folders) {
  const seen = modules.filter(({ source }) => source.startsWith(`${folder}/src/`)).length;
  if (seen === 0) {
    console.error(`boundaries: no module of ${folder} was looked at`);
    failed = true;
  }
}
const across = modules.flatMap(({ source, dependencies }) =>
  dependencies.filter(({ resolved }) => {
    const [, from] = /^packages\/([^/]+)\//.exec(source) ?? [];
    const [, to] = /^packages\/([^/]+)\//.exec(resolved) ?? [];
    return from !== undefined && to !== undefined && from !== to;
  }),
).length;
if (across === 0) {
  console.error("boundaries: no import between packages was seen, so none was checked");
  failed = true;
}
console.log(
  `boundaries: ${modules.length} modules, ${across} imports between packages, ${violations.length} violations`,
);
process.exitCode = failed ? 1 : 0;
