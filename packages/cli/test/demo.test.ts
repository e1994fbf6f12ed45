import { describe, expect, it } from "vitest";
import { loadRealMode } from "@tapvisor/sdk";
import { assembleDemo, DEMO_ADDRESS } from "../src/demo/guest.js";
import { createMachine } from "../src/machine.js";
import { Statistics } from "../src/statistics.js";

const MEMORY = 16 << 20;

async function runDemo() {
  let text = "";
  const statistics = new Statistics();
  const machine = createMachine({
    memorySize: MEMORY,
    interceptors: [statistics.interceptor],
    console: { write: (bytes) => void (text += String.fromCharCode(...bytes)) },
  });
  machine.load(loadRealMode(assembleDemo(), { memorySize: MEMORY, address: DEMO_ADDRESS }));
  const stop = await machine.run({ maxInstructions: 10_000_000 });
  return { text, stop, instructions: machine.instructions, ops: statistics.ops, exits: statistics.exits };
}

describe("the demonstration guest", () => {
  it("goes through every mode, faults and recovers, takes its interrupts, computes and halts", async () => {
    const { text, stop } = await runDemo();
    expect(text.split("\r\n")).toEqual([
      "real mode: hello from 16-bit code",
      "protected mode: 32 bits, page tables are ready",
      "long mode: paging is on, CPU vendor GenuineIntel",
      "#DE: division by zero, skipped",
      "#GP: no such MSR, skipped",
      "#PF at 40000008",
      "  page fault handled: read back 42",
      "MMIO: local APIC version 00050014, an empty bus reads ffffffff",
      "timer interrupt 1",
      "timer interrupt 2",
      "timer interrupt 3",
      "timer interrupt 4",
      "timer interrupt 5",
      "primes below 10000: 1229",
      "halting",
      "",
    ]);
    expect(stop).toEqual({ stop: "halt" });
  });

  it("makes every kind of exit that it is there for, and passes the ops that serve them", async () => {
    const { exits, ops } = await runDemo();
    for (const exit of ["IO_INSTRUCTION", "EPT_VIOLATION", "EPT_MISCONFIG", "HLT", "CR_ACCESS", "MSR_READ", "CPUID"]) {
      expect(exits[exit], exit).toBeGreaterThan(0);
    }
    for (const op of ["hardware_setup", "vcpu_create", "run", "handle_exit", "set_efer", "set_irq", "get_msr"]) {
      expect(ops[op], op).toBeGreaterThan(0);
    }
  });

  it("is the same in every run: console, instructions, op calls and exits", async () => {
    expect(await runDemo()).toEqual(await runDemo());
  });
});
