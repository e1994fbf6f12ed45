import { writeFileSync } from "node:fs";
import { basename } from "node:path";
import { Command, Option } from "commander";
import { BOARD_MODELS } from "@tapvisor/devices";
import type { Interceptor, BoardModel, OpName } from "@tapvisor/kvm-core";
import { IMAGE_FORMATS, loadImage, type ImageFormat, type LoadOptions } from "@tapvisor/sdk";
import {
  parseChoice, parseCount, parseCpu, parseCpus, parseBoard, parseMemory, parseOps, readInput, reasonOf, type CpuChoice,
} from "../arguments.js"; // prettier-ignore
import { EXIT_STATUS, UsageError } from "../errors.js";
import { createMachine, STOCK_BACKENDS } from "../machine.js";
import { loadPlugin } from "../plugins.js";
import { formatStatistics, outcomeOf, type RunReport } from "../report.js";
import { Statistics, tracer } from "../statistics.js";
import { SerialTerminal, type TerminalStreams } from "../terminal.js";

/** What a command talks to: the process's streams, or a test's. */
export interface CommandStreams extends TerminalStreams {
  readonly errors: { write(text: string): unknown };
}

interface RunFlags {
  readonly append?: string;
  readonly initrd?: string;
  readonly machine?: BoardModel;
  readonly memory: number;
  readonly smp: number;
  readonly cpu?: CpuChoice;
  readonly backend?: string;
  readonly forceEmulationPrefix?: boolean;
  readonly format?: ImageFormat;
  readonly trace?: readonly OpName[];
  readonly maxInstructions?: number;
  readonly plugin?: readonly string[];
  readonly stats?: boolean;
  readonly report?: string;
}

/** `tapvisor run IMAGE`. `finish` gets the exit status. */
export function runCommand(streams: CommandStreams, finish: (status: number) => void): Command {
  const backends = STOCK_BACKENDS.map(({ name }) => name);
  return new Command("run")
    .description("boot a guest image, with its serial console on the terminal (Ctrl-A X leaves)")
    .argument("<image>", "Multiboot ELF kernel, boot sector, or raw code")
    .option("--append <text>", "command line of the kernel, after the image's name")
    .option("--initrd <file>", "first Multiboot module")
    .option(
      "--machine <name>",
      `which devices it has: ${BOARD_MODELS.map(({ name, summary }) => `${name} (${summary})`).join(", ")}`,
      parseBoard,
    )
    .addOption(
      new Option("--memory <size>", "guest memory, as 128M or 1G").argParser(parseMemory).default(128 << 20, "128M"),
    )
    .option("--smp <n>", "virtual processors", parseCpus, 1)
    .option(
      "--cpu <profile>",
      "processor profile; after it, separated by commas, vendor=AuthenticAMD, phys-bits=36, -pcid and the like",
      parseCpu,
    )
    .option("--backend <name>", backends.join(" or "), (text: string) => parseChoice("--backend", text, backends))
    .option(
      "--force-emulation-prefix",
      "have ud2 and the letters kvm emulate the instruction behind them, as KVM's option",
    )
    .option(
      "--format <format>",
      `what the image is: ${IMAGE_FORMATS.join(", ")}; told by the file itself where it can`,
      (text: string) => parseChoice("--format", text, IMAGE_FORMATS),
    ) // prettier-ignore
    .option("--trace [ops]", "print every op call, or those of some ops: --trace=get_msr,set_cr0", parseOps)
    .option("--max-instructions <n>", "stop after so many guest instructions", (text: string) =>
      parseCount("--max-instructions", text),
    ) // prettier-ignore
    .option(
      "--plugin <file>",
      "ES module that exports interceptors; may be given again",
      (file: string, all: readonly string[]) => [...all, file],
      [],
    ) // prettier-ignore
    .option("--stats", "print guest instructions, exits, op calls and speed at the end")
    .option("--report <file>", "write the same as JSON")
    .action(async (image: string, flags: RunFlags) => finish(await run(image, flags, streams)));
}

async function run(path: string, flags: RunFlags, streams: CommandStreams): Promise<number> {
  const bytes = readInput("image", path);
  const options: LoadOptions = {
    memorySize: flags.memory,
    commandLine: flags.append === undefined ? path : `${path} ${flags.append}`,
    modules:
      flags.initrd === undefined
        ? []
        : [{ data: readInput("--initrd", flags.initrd), commandLine: basename(flags.initrd) }],
    ...(flags.format === undefined ? {} : { format: flags.format }),
  };
  // All input is checked before a machine is made.
  const guest = loadImage(bytes, options);
  const plugins = (await Promise.all((flags.plugin ?? []).map(loadPlugin))).flat();

  const statistics = flags.stats === true || flags.report !== undefined ? new Statistics() : undefined;
  const interceptors: Interceptor[] = [...plugins];
  if (statistics !== undefined) interceptors.push(statistics.interceptor);
  if (flags.trace !== undefined) interceptors.push(tracer(flags.trace, (line) => streams.errors.write(`${line}\n`)));
  const terminal = new SerialTerminal(streams);
  const machine = createMachine({
    ...(flags.machine === undefined ? {} : { board: flags.machine }),
    memorySize: flags.memory,
    cpus: flags.smp,
    ...(flags.cpu === undefined ? {} : { profile: flags.cpu.profile }),
    ...(flags.cpu?.vendor === undefined ? {} : { cpuidVendor: flags.cpu.vendor }),
    ...(flags.cpu === undefined ? {} : { cpuidWithout: flags.cpu.without }),
    ...(flags.cpu?.physicalAddressBits === undefined ? {} : { physicalAddressBits: flags.cpu.physicalAddressBits }),
    ...(flags.backend === undefined ? {} : { backend: flags.backend }),
    ...(flags.forceEmulationPrefix === undefined
      ? {}
      : { hostOptions: { forceEmulationPrefix: flags.forceEmulationPrefix } }),
    interceptors,
    console: terminal.sink,
    ...(statistics === undefined ? {} : { onMissingInstruction: statistics.noteMissing }),
  });
  if (statistics !== undefined) statistics.backend = machine.kvm.backend?.name ?? "";
  machine.load(guest);

  const started = process.hrtime.bigint();
  let outcome: ReturnType<typeof outcomeOf>;
  let failure: unknown;
  terminal.open((typed) => machine.input(typed));
  try {
    outcome = outcomeOf(
      await machine.run({
        ...(flags.maxInstructions === undefined ? {} : { maxInstructions: flags.maxInstructions }),
        signal: terminal.signal,
        waitForInput: () => (machine.wantsInput ? terminal.waitForInput() : Promise.resolve(false)),
      }),
    );
  } catch (error) {
    failure = error;
    const detail = error instanceof Error ? error.message : String(error);
    outcome = { stop: "host-error", value: null, status: EXIT_STATUS.HOST_FAILED, detail };
  } finally {
    terminal.close();
  }
  const seconds = Number(process.hrtime.bigint() - started) / 1e9;

  if (statistics !== undefined) {
    const { stop, value, detail } = outcome;
    const { instructions } = machine;
    if (flags.stats === true) streams.errors.write(`\n${formatStatistics(instructions, seconds, statistics)}\n`);
    if (flags.report !== undefined) {
      const { exits, ops, missing } = statistics;
      writeReport(flags.report, {
        stop,
        value,
        ...(detail === undefined ? {} : { detail }),
        instructions,
        exits,
        ops,
        missing,
      });
    }
  }
  if (failure !== undefined) throw failure;
  if (outcome.detail !== undefined) streams.errors.write(`tapvisor: ${outcome.stop}: ${outcome.detail}\n`);
  return outcome.status;
}

function writeReport(path: string, report: RunReport): void {
  try {
    writeFileSync(path, `${JSON.stringify(report, undefined, 2)}\n`);
  } catch (error) {
    throw new UsageError(`--report ${path}: ${reasonOf(error)}`);
  }
}
