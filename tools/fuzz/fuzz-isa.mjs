// pnpm fuzz:isa: fresh random sequences of instructions, on this processor and on the executors.
import { positiveNumber } from "../source/arguments.mjs";
import { importSource } from "../source/run-source.mjs";
import { fuzzerCommand } from "./options.mjs";

const options = fuzzerCommand(
  "fuzz:isa",
  "Execute random sequences of 1 to 50 user-mode instructions on this processor, on the interpreter and, a share of " +
    "them, on the evaluator; compare all state, and shrink what differs to its shortest form. Needs gcc.",
  { what: "sequence", cases: 10_000 },
)
  .option("--evaluator-share <number>", "one sequence in so many runs on the evaluator too", positiveNumber, 8)
  .parse()
  .opts();

const { fuzzIsa } = await importSource(new URL("./isa.ts", import.meta.url));
try {
  process.exitCode = fuzzIsa(options, (line) => console.log(line)).mismatches === 0 ? 0 : 1;
} catch (error) {
  console.error(`fuzz:isa: ${error instanceof Error ? error.message : String(error)}`);
  process.exitCode = 2;
}
