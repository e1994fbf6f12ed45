import { Command } from "commander";
import { loadRealMode } from "@tapvisor/sdk";
import { assembleDemo, DEMO_ADDRESS } from "../demo/guest.js";
import { createMachine } from "../machine.js";
import { formatStatistics, outcomeOf } from "../report.js";
import { Statistics } from "../statistics.js";
import type { CommandStreams } from "./run.js";

const MEMORY = 16 << 20;
/** Far more than the guest needs: one that hangs ends all the same. */
const BUDGET = 50_000_000;

/** `tapvisor demo`: the embedded guest on the stock machine, and the ops that it took. */
export function demoCommand(streams: CommandStreams, finish: (status: number) => void): Command {
  return new Command("demo")
    .description("run the embedded guest, and print the op calls that it took")
    .action(async () => finish(await demo(streams)));
}

async function demo(streams: CommandStreams): Promise<number> {
  const print = (text: string) => void streams.output.write(new TextEncoder().encode(text));
  const statistics = new Statistics();
  const machine = createMachine({
    memorySize: MEMORY,
    interceptors: [statistics.interceptor],
    console: { write: (bytes) => void streams.output.write(bytes.slice()) },
  });
  statistics.backend = machine.kvm.backend?.name ?? "";
  const { memory } = machine.kvm.host;
  print(
    `an x86 guest on a VT-x processor in software: ${MEMORY >> 20} MiB of RAM, host memory ${memory.size >> 20} MiB\n\n`,
  );
  machine.load(loadRealMode(assembleDemo(), { memorySize: MEMORY, address: DEMO_ADDRESS }));
  const started = process.hrtime.bigint();
  const outcome = outcomeOf(await machine.run({ maxInstructions: BUDGET }));
  const seconds = Number(process.hrtime.bigint() - started) / 1e9;
  print(`\nthe guest ended with ${outcome.stop}${outcome.detail === undefined ? "" : `: ${outcome.detail}`}\n`);
  print(`${formatStatistics(machine.instructions, seconds, statistics)}\n`);
  return outcome.status;
}
