// pnpm fuzz:engines: random guests in every mode, on the interpreter and on the evaluator.
import { Command } from "commander";
import { importSource } from "../source/run-source.mjs";

const options = new Command("fuzz:engines")
  .description(
    "Execute random instructions, privileged ones included, in random modes with random page tables on the interpreter " +
      "and on the evaluator, and compare state, memory, faults and exits. A guest comes to some 1,000 instructions.",
  )
  .option("--seed <number>", "the same seed makes the same guests", Number, 1)
  .option("--cases <number>", "guests", Number, 1000)
  .option("--first <number>", "number of the first guest", Number, 0)
  .option("--mismatches <number>", "stop after so many", Number, 5)
  .parse()
  .opts();

const { fuzzEngines } = await importSource(new URL("./engines.ts", import.meta.url));
process.exitCode = fuzzEngines(options, (line) => console.log(line)).mismatches === 0 ? 0 : 1;
