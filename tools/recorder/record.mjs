// pnpm record: executes the forms of instructions on this processor and writes down digests of what they did.
import { Command } from "commander";
import { importSource } from "../source/run-source.mjs";

const command = new Command("record")
  .description("Record what this processor does, for all forms or some of them; the recordings of the others stay.")
  .argument("[suites]", "only suites like vector-64, integer-16 that match a regular expression")
  .option("--form <pattern>", "only forms whose name matches a regular expression, such as ^Addps")
  .parse();

const { record } = await importSource(new URL("./record.ts", import.meta.url));
try {
  record({ suite: command.args[0], form: command.opts().form }, (line) => console.log(line));
} catch (error) {
  console.error(`record: ${error instanceof Error ? error.message : String(error)}`);
  process.exitCode = 2;
}
