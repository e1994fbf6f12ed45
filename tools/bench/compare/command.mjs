import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { Command } from "commander";
import { build, checkOut, isDirty, removeWorktree, resolveCommit } from "./checkout.mjs";
import { chooseFigures } from "./figures.mjs";
import { interruption } from "./processes.mjs";
import { report } from "./table.mjs";

const root = fileURLToPath(new URL("../../..", import.meta.url));

const positive = (name, accepts, rule) => (text) => {
  const value = Number(text);
  if (!(value > 0) || !accepts(value)) throw new Error(`${name} is "${text}": must be ${rule}`);
  return value;
};

/** `bench compare COMMIT`: this working tree against a commit. `print` takes lines. */
export function compareCommand(print) {
  return new Command("compare")
    .description("measure this working tree against a commit, one after the other in rounds; less is better")
    .argument("<commit>", "what to compare with: it is built in a worktree of its own")
    .option("--rounds <n>", "rounds of one process of each side", positive("--rounds", Number.isInteger, "a count"), 15)
    .option("--only <figures>", "figures or groups of them, separated by commas", (text) => text.split(","))
    .option(
      "--limit <ratio>",
      "what a ratio may come to",
      positive("--limit", Number.isFinite, "a ratio above 0"),
      1.03,
    )
    .option("--check", "end with status 1 where a figure exceeds the limit or was not measured")
    .action(async (name, options) => {
      process.exitCode = await compare(name, options, print);
    });
}

async function compare(name, { rounds, only, limit, check }, print) {
  const figures = chooseFigures(only);
  const commit = resolveCommit(root, name);
  if (isDirty(root)) print("bench: the working tree has changes that are not committed; they are measured with it");
  const { signal, dispose } = interruption();
  const folder = mkdtempSync(join(tmpdir(), "tapvisor-compare-"));
  const before = join(folder, "before");
  const cleanUp = () => {
    removeWorktree(root, before);
    rmSync(folder, { recursive: true, force: true });
  };
  // Also where this process ends with something still awaited.
  process.once("exit", cleanUp);
  try {
    print(`bench: building the working tree, and ${commit.slice(0, 8)} in ${before}`);
    await build(root, signal);
    await checkOut(root, commit, before, signal);
    // It loads what was built just now.
    const { runRounds } = await import("./rounds.mjs");
    const sides = { before, after: root };
    const progress = (round) => print(`bench: round ${round} of ${rounds}`);
    const { results, errors } = await runRounds({ figures, sides, rounds, folder, signal, progress });
    for (const [what, error] of errors) print(`bench: ${what}: ${error}`);
    const { text, exceeding, missing } = report(figures, results, limit);
    print(`before: ${commit.slice(0, 8)}, after: the working tree; ${rounds} rounds, less is better`);
    print(text);
    return check === true && exceeding.length + missing.length > 0 ? 1 : 0;
  } finally {
    process.off("exit", cleanUp);
    cleanUp();
    dispose();
  }
}
