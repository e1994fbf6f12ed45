// The one place that knows what the packages of another commit are called by: what the benches use of them, under names
// that do not change. Where a public name changes, add the new one before the old one.
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";

/** A package of the workspace at `root`, by its built public entry point. */
async function importPackage(root, name) {
  for (const folder of readdirSync(join(root, "packages"))) {
    const file = join(root, "packages", folder, "package.json");
    if (!existsSync(file)) continue;
    const manifest = JSON.parse(readFileSync(file, "utf8"));
    if (manifest.name !== name) continue;
    return import(pathToFileURL(join(root, "packages", folder, manifest.exports["."].default)).href);
  }
  throw new Error(`there is no package ${name} at that commit`);
}

/** The first of the names that a module exports. */
export function exported(module, ...names) {
  const name = names.find((candidate) => module[candidate] !== undefined);
  if (name === undefined) throw new Error(`that commit exports no ${names.join(" or ")}`);
  return module[name];
}

/** Machines of the workspace at `root`. */
export async function loadMachines(root) {
  const createMachine = exported(await importPackage(root, "tapvisor"), "createMachine");
  const loadLongMode = exported(await importPackage(root, "@tapvisor/sdk"), "loadLongMode");
  return {
    /** A machine with a guest in it: `run` executes so many instructions and tells how it stopped. */
    create({ bytes, address, memorySize }, console) {
      const machine = createMachine({ memorySize, console });
      machine.load(loadLongMode(bytes, { memorySize, address }));
      return {
        run: async (maxInstructions) => (await machine.run({ maxInstructions })).stop,
        instructions: () => machine.instructions,
        dispose: () => machine.dispose(),
      };
    },
  };
}

/** Call tables of the workspace at `root`, and the ops that they have. */
export async function loadCallTable(root) {
  const core = await importPackage(root, "@tapvisor/kvm-core");
  const OpDispatch = exported(core, "OpDispatch");
  return {
    opNames: exported(core, "OP_NAMES"),
    /** A table with a backend's functions in it: `dispatch` attaches interceptors, `ops` is what the core calls. */
    createTable(clock, name, functions) {
      const dispatch = new OpDispatch(clock);
      dispatch.bind(name, functions);
      return { dispatch, ops: dispatch.coreCalls };
    },
  };
}
