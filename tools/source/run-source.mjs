import { fileURLToPath } from "node:url";
import { runnerImport } from "vite";

/**
 * Import a TypeScript module of the repository as it is, with its packages taken from their sources: nothing needs to be
 * built.
 *
 * @param {URL} url
 */
export async function importSource(url) {
  const conditions = ["@tapvisor/source"];
  const { module } = await runnerImport(fileURLToPath(url), {
    logLevel: "error",
    resolve: { conditions },
    environments: {
      inline: { resolve: { conditions, external: ["vite", "iced-x86"], noExternal: [/^@tapvisor/, /^#/] } },
    },
  });
  return module;
}
