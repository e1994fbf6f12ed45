import { createMachine } from "tapvisor";
import { loadLongMode } from "@tapvisor/sdk";
import { CALLS_A_ROUND, loadCallSites } from "./op-call-sites.mjs";
import { Assembler, dword, mem, reg } from "@tapvisor/x86-isa";

const { al, dx, eax, ebx, ecx, edx, rax, rbx, rcx, rdi, rdx, r8, r9 } = reg;

const MEMORY = 16 << 20;
const ADDRESS = 0x10000;
const BUFFER = 0x20_0000;
/** A port, and a guest physical address, that nobody answers at. */
const EMPTY_PORT = 0x2f0;
const EMPTY_ADDRESS = 0xd000_0000;
const NS_PER_S = 1e9;
const WARM_UP_US = 1.5e6;

/**
 * Integer work without an exit, as compilers make it: a sieve's inner loops, hashing with multiplications and rotates,
 * sums over memory, a recursive call.
 */
function integerGuest() {
  const a = new Assembler(64);
  a.label("again");
  a.mov(rdi, BUFFER).mov(ecx, 4096).mov(rax, 0x9e3779b97f4a7c15n);
  a.label("hash").imul(rax, rax, 0x5bd1e995).rol(rax, 13).xor(rax, rcx);
  a.mov(mem({ base: rdi, index: rcx, scale: 8 }), rax)
    .dec(rcx)
    .jne("hash");
  a.mov(ecx, 4096).xor(r8, r8).xor(r9, r9);
  a.label("sum")
    .mov(rbx, mem({ base: rdi, index: rcx, scale: 8 }))
    .add(r8, rbx)
    .test(rbx, 1)
    .je("even")
    .inc(r9);
  a.label("even").dec(rcx).jne("sum");
  a.mov(ebx, 12).call("fibonacci").jmp("again");
  // EAX = the EBX-th Fibonacci number.
  a.label("fibonacci").cmp(ebx, 2).jae("recurse").mov(eax, ebx).ret();
  a.label("recurse").push(rbx).dec(ebx).call("fibonacci").pop(rbx).push(rax).push(rbx).sub(ebx, 2).call("fibonacci");
  a.pop(rbx).pop(rdx).add(rax, rdx).ret();
  return a;
}

/** The same instruction over and over, and how many instructions a turn of its loop has. */
function loopOf(prepare, instruction) {
  const a = new Assembler(64);
  prepare(a);
  a.label("again");
  instruction(a);
  a.jmp("again");
  return a;
}

const EXITS = {
  CPUID: loopOf(
    () => undefined,
    (a) => a.xor(eax, eax).cpuid(),
  ),
  "port write": loopOf(
    (a) => a.mov(dx, EMPTY_PORT),
    (a) => a.out(dx, al),
  ),
  "port read": loopOf(
    (a) => a.mov(dx, EMPTY_PORT),
    (a) => a.in(al, dx),
  ),
  "MMIO write": loopOf(
    (a) => a.mov(rbx, EMPTY_ADDRESS),
    (a) => a.mov(dword(rbx), ecx),
  ),
  "MMIO read": loopOf(
    (a) => a.mov(rbx, EMPTY_ADDRESS),
    (a) => a.mov(edx, dword(rbx)),
  ),
};

/** Nanoseconds of a call that does next to nothing: a measure of the machine and of what else it does just now. */
async function emptyCalls() {
  const { direct } = await loadCallSites();
  const vcpu = { arch: 1 };
  const sample = () => {
    const start = process.hrtime.bigint();
    direct(vcpu, EMPTY_ROUNDS);
    return Number(process.hrtime.bigint() - start) / (EMPTY_ROUNDS * CALLS_A_ROUND);
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
  for (const [kind, guest] of Object.entries(EXITS)) {
    const loop = kind === "CPUID" ? 3 : 2;
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
