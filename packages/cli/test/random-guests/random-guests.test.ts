import { createHash } from "node:crypto";
import { loadLongMode, loadRealMode, type GuestImage } from "@tapvisor/sdk";
import type { Bitness } from "@tapvisor/x86-isa";
import { describe, expect, it } from "vitest";
import { createMachine } from "../../src/index.js";
import { Random, randomBytes, randomInstructions } from "./code.js";
import { CODE_BYTES, randomGuest } from "./guest.js";

const BUDGET = 1_000_000;
const MEMORY = 16 << 20;

interface Outcome {
  readonly stop: string;
  readonly instructions: number;
  /** Of the registers and all of memory. */
  readonly digest: string;
}

async function runGuest(image: GuestImage, budget: number): Promise<Outcome> {
  const machine = createMachine({ memorySize: MEMORY });
  try {
    machine.load(image);
    const { stop } = await machine.run({ maxInstructions: budget });
    const [vcpu] = machine.vcpus;
    const registers = JSON.stringify([vcpu?.getRegs(), vcpu?.getSregs()], (_, value: unknown) =>
      typeof value === "bigint" ? value.toString(16) : value,
    );
    const memory = machine.vm.readGuest(0, MEMORY);
    const digest = createHash("sha256").update(registers).update(memory).digest("hex");
    return { stop, instructions: machine.instructions, digest };
  } finally {
    machine.dispose();
  }
}

const runRandom = (code: Uint8Array, bitness: Bitness): Promise<Outcome> =>
  runGuest(loadLongMode(randomGuest(code, bitness), { memorySize: MEMORY }), BUDGET);

const SEED = 0x7a9f_0001;

describe.each([64, 32, 16] as const)("random guests of %i-bit code", (bitness) => {
  it("runs random bytes to its budget, the same twice", async () => {
    const code = randomBytes(new Random(SEED + bitness), CODE_BYTES);
    const first = await runRandom(code, bitness);
    expect(first).toMatchObject({ stop: "budget", instructions: BUDGET });
    expect(await runRandom(code, bitness)).toEqual(first);
  });

  it("runs random valid instructions to its budget, the same twice", async () => {
    const code = randomInstructions(new Random(SEED + bitness), CODE_BYTES, bitness);
    const first = await runRandom(code, bitness);
    expect(first).toMatchObject({ stop: "budget", instructions: BUDGET });
    expect(await runRandom(code, bitness)).toEqual(first);
  });
});

describe("random bytes at CPL 0, without any handler", () => {
  const SHORT_BUDGET = 20_000;
  it.each([
    ["real mode", loadRealMode, 0x8000],
    ["long mode", loadLongMode, CODE_BYTES],
  ] as const)("end by themselves or by their budget in %s", async (_, load, size) => {
    for (let seed = 1; seed <= 25; seed++) {
      const { stop, instructions } = await runGuest(
        load(randomBytes(new Random(SEED * seed), size), { memorySize: MEMORY }),
        SHORT_BUDGET,
      );
      expect(instructions).toBeLessThanOrEqual(SHORT_BUDGET);
      // Whatever the bytes are, the hypervisor can go on or knows why not.
      expect([seed, stop]).not.toEqual([seed, "internal-error"]);
    }
  });
});
