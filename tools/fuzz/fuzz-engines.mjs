// pnpm fuzz:engines: random guests in every mode, on the interpreter and on the evaluator.
import { importSource } from "../source/run-source.mjs";
import { fuzzerCommand } from "./options.mjs";

const options = fuzzerCommand(
  "fuzz:engines",
  "Execute random instructions, privileged ones included, in random modes with random page tables on the interpreter " +
    "and on the evaluator, and compare state, memory, faults and exits. A guest comes to some 1,000 instructions.",
  { what: "guest", cases: 1000 },
)
  .parse()
  .opts();

const { fuzzEngines } = await importSource(new URL("./engines.ts", import.meta.url));
process.exitCode = fuzzEngines(options, (line) => console.log(line)).mismatches === 0 ? 0 : 1;
