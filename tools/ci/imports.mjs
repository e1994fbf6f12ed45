import { cruise } from "dependency-cruiser";
import extractTsConfig from "dependency-cruiser/config-utl/extract-ts-config";
import configuration from "../../.dependency-cruiser.mjs";

const { forbidden, options } = configuration;

/**
 * Hold the imports below some folders against the rules of .dependency-cruiser.mjs.
 *
 * @param {string[]} folders relative to `baseDir`
 * @param {string} [baseDir] the repository, unless told
 * @returns {Promise<{ modules: import("dependency-cruiser").IModule[], violations: string[] }>} what was seen, and texts
 */
export async function checkImports(folders, baseDir) {
  const { output } = await cruise(
    folders,
    { ...options, ruleSet: { forbidden }, validate: true, ...(baseDir === undefined ? {} : { baseDir }) },
    undefined,
    { tsConfig: extractTsConfig(options.tsConfig.fileName) },
  );
  const { modules, summary } = output;
  return { modules, violations: [...new Set(summary.violations.map(described))] };
}

/** A violation as text. Every import of a circle violates its rule: told from one place, they are the same line. */
function described({ rule, from, to, cycle }) {
  if (cycle === undefined) return `${rule.name}: ${from} imports ${to}`;
  const files = cycle.map(({ name }) => name);
  const first = files.indexOf([...files].sort()[0]);
  const circle = [...files.slice(first), ...files.slice(0, first + 1)];
  return `${rule.name}: ${circle.join("\n  imports ")}`;
}
