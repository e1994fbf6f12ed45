import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { Command, CommanderError, Option } from "commander";
import pLimit from "p-limit";
import { checkCommit, compare, readExpectations, recordOf, updateExpectations, type Update } from "./expectations.js";
import { formatHeader, formatRow } from "./format.js";
import { planRow } from "./qemu-options.js";
import { RESULTS, type Outcome, type Result } from "./result.js";
import { commandLine, runRow, type RowOptions } from "./run-row.js";
import { configuredArch, suiteCommit } from "./suite-folder.js";
import { parseSuite, type SuiteRow } from "./suite.js";

const ARCHITECTURES = ["x86_64", "i386"] as const;

/** Where things are, and where text goes. */
export interface Surroundings {
  /** Path of the `tapvisor` command. */
  readonly command: string;
  /** Path of the committed expectations. */
  readonly expectations: string;
  readonly print: (text: string) => void;
  readonly printError: (text: string) => void;
}

interface Flags {
  readonly config?: string;
  readonly arch?: string;
  readonly only?: readonly string[];
  readonly jobs: number;
  readonly limit: number;
  readonly update?: boolean;
  readonly list?: boolean;
  readonly expectations?: string;
  readonly run: readonly string[];
}

const positive = (name: string) => (text: string) => {
  const value = Number(text);
  if (!(value > 0)) throw new Error(`${name} is "${text}": must be a number above 0`);
  return value;
};

/**
 * `pnpm conformance FOLDER`. Resolves to the exit status: 0 when every row is at least as good as expected, 1 after a
 * regression, 2 for wrong usage.
 */
export async function main(args: readonly string[], surroundings: Surroundings): Promise<number> {
  const { printError } = surroundings;
  let status = 0;
  const program = new Command("conformance")
    .description("run the images of a suite by its own table, and compare the results with what is expected")
    .argument("<folder>", "the suite, or the folder of its images and their unittests.cfg")
    .option("--config <file>", "the table; unittests.cfg of the folder unless told otherwise")
    .addOption(new Option("--arch <arch>", "architecture of the images").choices(ARCHITECTURES))
    .option("--only <names>", "rows, by name, separated by commas", (text: string) => text.split(","))
    .option("--jobs <n>", "rows that run at a time", positive("--jobs"), 1)
    .option("--limit <seconds>", "give a row up after so long, whatever it has done", positive("--limit"), 1800)
    .option("--expectations <file>", "what to compare with, instead of what is committed")
    .option("--update", "take what is measured as what is expected from now on, row by row")
    .option("--list", "print the commands that run the rows, and run nothing")
    .option(
      "--run <option>",
      "an option for every `tapvisor run`; may be given again",
      (o, all) => [...all, o],
      [] as string[],
    )
    .exitOverride()
    .configureOutput({ writeOut: surroundings.print, writeErr: () => {} })
    .action(async (folder: string, flags: Flags) => void (status = await conformance(folder, flags, surroundings)));
  try {
    await program.parseAsync(args, { from: "user" });
    return status;
  } catch (error) {
    if (error instanceof CommanderError && error.exitCode === 0) return 0;
    const text = error instanceof Error ? error.message : String(error);
    printError(`conformance: ${text.replace(/^error: /, "").split("\n")[0] ?? ""}\n`);
    return 2;
  }
}

async function conformance(folder: string, flags: Flags, { command, print, ...where }: Surroundings): Promise<number> {
  const images = existsSync(join(folder, "x86")) ? join(folder, "x86") : folder;
  const config = flags.config ?? join(images, "unittests.cfg");
  if (!existsSync(config)) throw new Error(`${config}: no such file; name the suite's table with --config`);
  const all = parseSuite(readFileSync(config, "utf8"));
  const arch = flags.arch ?? configuredArch(folder);
  const rows = chooseRows(all, arch, flags.only);
  const options: RowOptions = { arch, images, command, limitSeconds: flags.limit, extra: flags.run };
  if (flags.list === true) {
    for (const row of rows) print(`${row.name}: ${describe(row, options)}\n`);
    return 0;
  }

  const path = flags.expectations ?? where.expectations;
  const expected = readExpectations(path);
  const update: Update = { arch, table: chooseRows(all, arch, undefined).map(nameOf), commit: suiteCommit(folder) };
  if (flags.update === true) checkCommit(path, expected.commit, update.commit);

  const width = Math.max(...rows.map(({ name }) => name.length), 4);
  print(`${formatHeader(width)}\n`);
  const limit = pLimit(flags.jobs);
  const outcomes = await Promise.all(
    rows.map((row) =>
      limit(async (): Promise<Outcome> => {
        const outcome = await runRow(row, options);
        print(`${formatRow(row.name, outcome, width)}\n`);
        // As soon as it is known: a whole suite takes hours, and what it has shown until it is stopped holds.
        if (flags.update === true && outcome.unmeasured !== true) {
          updateExpectations(path, update, new Map([[row.name, recordOf(outcome)]]));
        }
        return outcome;
      }),
    ),
  );
  const results = new Map(rows.map(({ name }, i): [string, Result] => [name, outcomes[i]?.result ?? "crash"]));
  print(`\n${summary(outcomes)}\n`);
  const { regressions, improvements, unknown } = compare(expected.rows[arch] ?? {}, results);
  for (const [title, changes] of Object.entries({ regressions, improvements, "not expected yet": unknown })) {
    if (changes.length > 0) print(`\n${title}:\n${changes.map((change) => `  ${change}\n`).join("")}`);
  }
  return regressions.length > 0 && flags.update !== true ? 1 : 0;
}

const nameOf = ({ name }: SuiteRow): string => name;

/** The rows of an architecture, or those that are named. */
function chooseRows(all: readonly SuiteRow[], arch: string, only: readonly string[] | undefined): SuiteRow[] {
  const missing = (only ?? []).filter((name) => !all.some((row) => row.name === name));
  if (missing.length > 0) throw new Error(`the table has no row ${missing.join(", ")}`);
  return all.filter((row) => (row.arch === undefined || row.arch === arch) && (only?.includes(row.name) ?? true));
}

function describe(row: SuiteRow, options: RowOptions): string {
  const plan = planRow(row, options.arch);
  if (plan.kind !== "run") return `${plan.kind}: ${plan.reason}`;
  const words = ["tapvisor", ...commandLine(row, plan.options, options)];
  return words.map((word) => (/[^\w./,=+:-]/.test(word) ? `'${word}'` : word)).join(" ");
}

function summary(outcomes: readonly Outcome[]): string {
  const counts = RESULTS.map(
    (result) => [outcomes.filter((outcome) => outcome.result === result).length, result] as const,
  );
  const total = (field: (outcome: Outcome) => number | undefined) =>
    outcomes.reduce((sum, outcome) => sum + (field(outcome) ?? 0), 0);
  const subTests = total(({ subTests }) => subTests?.tests);
  const failed = total(({ subTests }) => subTests?.failed);
  return (
    `${outcomes.length} rows: ${counts
      .filter(([n]) => n > 0)
      .map(([n, result]) => `${n} ${result}`)
      .join(", ")}; ` + `${subTests.toLocaleString("en-US")} sub-tests, ${failed.toLocaleString("en-US")} failed`
  );
}
