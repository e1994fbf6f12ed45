// pnpm fuzz:isa: fresh random sequences of instructions, on this processor and on the executors.
import { Command } from "commander";
import { importSource } from "../source/run-source.mjs";

const options = new Command("fuzz:isa")
  .description(
    "Execute random sequences of 1 to 50 user-mode instructions on this processor, on the interpreter and, a share of " +
      "them, on the evaluator; compare all state, and shrink what differs to its shortest form. Needs gcc.",
  )
  .option("--seed <number>", "the same seed makes the same sequences", Number, 1)
  .option("--cases <number>", "sequences", Number, 10_000)
  .option("--first <number>", "number of the first sequence", Number, 0)
  .option("--evaluator-share <number>", "one sequence in so many runs on the evaluator too", Number, 8)
  .option("--mismatches <number>", "stop after so many", Number, 5)
  .parse()
  .opts();

const { fuzzIsa } = await importSource(new URL("./isa.ts", import.meta.url));
try {
  process.exitCode = fuzzIsa(options, (line) => console.log(line)).mismatches === 0 ? 0 : 1;
} catch (error) {
  console.error(`fuzz:isa: ${error instanceof Error ? error.message : String(error)}`);
  process.exitCode = 2;
}
