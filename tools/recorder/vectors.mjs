// pnpm vectors: prints forms, cases, mismatches and what is not recorded, for both executors.
import { spawn } from "node:child_process";
import { fileURLToPath } from "node:url";
import { Command, Option } from "commander";
import { positiveNumber, wholeNumber } from "../source/arguments.mjs";
import { importSource } from "../source/run-source.mjs";

const EXECUTORS = ["evaluator", "interpreter"];

const options = new Command("vectors")
  .description("Execute what was recorded on a real processor, and print what differs.")
  .addOption(new Option("--executor <name>", "only this one").choices(EXECUTORS))
  .option("--suite <pattern>", "only suites like vector-64, integer-16 that match a regular expression")
  .option("--form <pattern>", "only forms whose name matches a regular expression, such as ^Addps")
  .option("--cases <count>", "cases of each form, from the first on", positiveNumber)
  .option("--lines <count>", "mismatches printed one by one at most", wholeNumber)
  .parse()
  .opts();

const { executor, ...others } = options;
const { choose } = await importSource(new URL("./choice.ts", import.meta.url));
try {
  choose(options);
  if (executor === undefined) await reportOnAll();
  else await reportOn(executor);
} catch (error) {
  console.error(`vectors: ${error instanceof Error ? error.message : String(error)}`);
  process.exitCode = 2;
}

/** One process each, so that two processors are put to use; the second report follows the first. */
async function reportOnAll() {
  const runs = EXECUTORS.map((name) => {
    const args = [fileURLToPath(import.meta.url), ...process.argv.slice(2), "--executor", name];
    const child = spawn(process.execPath, args, { stdio: ["ignore", "pipe", "inherit"] });
    const text = [];
    child.stdout.on("data", (chunk) => (name === EXECUTORS[0] ? process.stdout.write(chunk) : text.push(chunk)));
    return new Promise((resolve) => child.on("close", (status) => resolve({ status, text: Buffer.concat(text) })));
  });
  for (const { status, text } of await Promise.all(runs)) {
    process.stdout.write(text);
    if (status !== 0) process.exitCode = 1;
  }
}

async function reportOn(name) {
  const { report } = await importSource(new URL("./report.ts", import.meta.url));
  const failures = report({ ...others, executor: name }, (line) => console.log(line));
  process.exitCode = failures === 0 ? 0 : 1;
}
