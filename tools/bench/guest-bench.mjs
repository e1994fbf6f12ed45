import { createMachine } from "tapvisor";
import { OP_NAMES } from "@tapvisor/kvm-core/contract";
import { loadLongMode } from "@tapvisor/sdk";
import { EXIT_LOOPS, instructionsAnExit } from "./guest/exit-loops.mjs";
import { integerGuest } from "./guest/integer.mjs";
import { callsARound, loadCallSites } from "./op-call-sites.mjs";

const MEMORY = 16 << 20;
const ADDRESS = 0x10000;
const NS_PER_S = 1e9;
const WARM_UP_US = 1.5e6;

/** Nanoseconds of a call that does next to nothing: a measure of the machine and of what else it does just now. */
async function emptyCalls() {
  const { direct } = await loadCallSites(OP_NAMES);
  const vcpu = { arch: 1 };
  const sample = () => {
    const start = process.hrtime.bigint();
    direct(vcpu, EMPTY_ROUNDS);
    return Number(process.hrtime.bigint() - start) / (EMPTY_ROUNDS * callsARound(OP_NAMES));
  };
  for (let i = 0; i < 100; i++) sample();
  return sample;
}

/**
 * Let a guest run for some seconds: guest instructions, seconds, and the processor time of an instruction, in seconds, in
 * the middle one of the slices: other work on the machine adds little to it. `between` is called after every slice, and not counted.
 */
async function runFor(guest, seconds, instructionsAtATime, between = () => undefined) {
  const machine = createMachine({ memorySize: MEMORY });
  machine.load(loadLongMode(guest.assemble(ADDRESS).bytes, { memorySize: MEMORY, address: ADDRESS }));
  const slice = async () => {
    const { stop } = await machine.run({ maxInstructions: instructionsAtATime });
    if (stop !== "budget") throw new Error(`bench: the guest ended with ${stop}`);
  };
  // Warm up: let everything hot be compiled, in processor time, of which a busy machine gives little.
  const begun = process.cpuUsage();
  while (process.cpuUsage(begun).user < WARM_UP_US) await slice();
  const first = machine.instructions;
  let elapsed = 0;
  const slices = [];
  while (elapsed < seconds) {
    const [start, before, used] = [process.hrtime.bigint(), machine.instructions, process.cpuUsage()];
    await slice();
    const { user, system } = process.cpuUsage(used);
    slices.push((user + system) / 1e6 / (machine.instructions - before));
    elapsed += Number(process.hrtime.bigint() - start) / NS_PER_S;
    between();
  }
  const instructions = machine.instructions - first;
  machine.dispose();
  return { instructions, seconds: elapsed, perInstruction: median(slices) };
}

export async function mipsBench() {
  const { instructions, seconds } = await runFor(integerGuest(), 3, 1_000_000);
  console.log(`integer guest: ${(instructions / seconds / 1e6).toFixed(1)} million instructions a second`);
}

/** The most that a CPUID exit may take. */
const CPUID_LIMIT_US = 2;
/** Instructions of a slice of exits: enough that starting and ending it weighs nothing. */
const EXIT_SLICE = { CPUID: 60_000, other: 12_000 };
/** Rounds of empty calls in one sample. */
const EMPTY_ROUNDS = 20;

const median = (numbers) => [...numbers].sort((x, y) => x - y)[numbers.length >> 1];

/**
 * Microseconds of each kind of exit, from the guest's instruction to the one after it. A call costs so little, and so
 * much the same on every machine in comparison, that an exit in calls tells machines and loads apart from changes here.
 */
export async function exitsBench() {
  const emptyCall = await emptyCalls();
  console.log("exits");
  console.log(`${"kind".padEnd(16)}${"exits/s".padStart(12)}${"us".padStart(8)}${"in empty calls".padStart(16)}`);
  for (const [kind, guest] of Object.entries(EXIT_LOOPS)) {
    const loop = instructionsAnExit(kind);
    const calls = [];
    const { perInstruction } = await runFor(guest, 2, EXIT_SLICE[kind] ?? EXIT_SLICE.other, () =>
      calls.push(emptyCall()),
    );
    const us = perInstruction * loop * 1e6;
    const call = median(calls);
    const exceeded = kind === "CPUID" && us > CPUID_LIMIT_US;
    if (exceeded) process.exitCode = 1;
    const limit = kind === "CPUID" ? `, limit ${CPUID_LIMIT_US} us${exceeded ? " EXCEEDED" : ""}` : "";
    const cells = [
      Math.round(1e6 / us)
        .toString()
        .padStart(12),
      us.toFixed(2).padStart(8),
    ];
    const inCalls = Math.round((us * 1e3) / call).toString();
    console.log(`${kind.padEnd(16)}${cells.join("")}${inCalls.padStart(16)}  of ${call.toFixed(2)} ns${limit}`);
  }
}
