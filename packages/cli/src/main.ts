import { Command, CommanderError } from "commander";
import { demoCommand } from "./commands/demo.js";
import { opsCommand } from "./commands/ops.js";
import { runCommand, type CommandStreams } from "./commands/run.js";
import { EXIT_STATUS, explain } from "./errors.js";

const STREAMS: CommandStreams = { input: process.stdin, output: process.stdout, errors: process.stderr };

/**
 * The `tapvisor` command. Resolves to the exit status; every failure is one line on the error stream.
 *
 * @param args what follows the command's name
 */
export async function main(args: readonly string[], streams: CommandStreams = STREAMS): Promise<number> {
  let status = 0;
  const finish = (value: number) => void (status = value);
  const program = new Command("tapvisor")
    .description("KVM's x86 architecture layer on a VT-x processor in software")
    .addCommand(runCommand(streams, finish))
    .addCommand(opsCommand(streams, finish))
    .addCommand(demoCommand(streams, finish));
  for (const command of [program, ...program.commands]) {
    command.exitOverride().configureOutput({
      writeOut: (text) => void streams.output.write(new TextEncoder().encode(text)),
      // What is wrong is said once, by `explain`.
      writeErr: () => {},
    });
  }
  try {
    await program.parseAsync(explicitTrace(args), { from: "user" });
    return status;
  } catch (error) {
    if (error instanceof CommanderError && error.exitCode === 0) return 0;
    if (error instanceof CommanderError && error.code === "commander.help") {
      streams.errors.write(program.helpInformation());
      return EXIT_STATUS.USAGE;
    }
    const { status, line } = explain(error);
    streams.errors.write(`tapvisor: ${line}\n`);
    return status;
  }
}

/** `--trace` takes its value after `=` only: in `--trace image`, the image is not a list of ops. */
function explicitTrace(args: readonly string[]): string[] {
  return args.map((arg) => (arg === "--trace" ? "--trace=" : arg));
}
