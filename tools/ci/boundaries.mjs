// Check the one-way imports; refuse to pass on a run that looked at nothing.
import { cruise } from "dependency-cruiser";
import extractTsConfig from "dependency-cruiser/config-utl/extract-ts-config";
import { existsSync, readdirSync } from "node:fs";
import configuration from "../../.dependency-cruiser.mjs";

const { forbidden, options } = configuration;
const folders = readdirSync("packages").map((name) => `packages/${name}`);
const { output } = await cruise(
  [...folders, ...["examples"].filter((folder) => existsSync(folder))],
  { ...options, ruleSet: { forbidden }, validate: true },
  undefined,
  { tsConfig: extractTsConfig(options.tsConfig.fileName) },
);
const { modules, summary } = output;
let failed = false;
for (const { from, to, rule } of summary.violations) {
  console.error(`${rule.name}: ${from} imports ${to}`);
  failed = true;
}
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
  `boundaries: ${modules.length} modules, ${across} imports between packages, ${summary.violations.length} violations`,
);
process.exitCode = failed ? 1 : 0;
