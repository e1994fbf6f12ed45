import { describe, expect, it } from "vitest";
import { decode, GuestException, runSystemInstruction, slot, systemHandlerId, type Bitness } from "../../src/index.js";
import {
  CODE,
  GDT,
  IDT,
  longMachine,
  protectedMachine,
  realMachine,
  STACK,
  TSS,
  virtual8086Machine,
  type TestEnvironment,
} from "./test-environment.js";

/** Mulberry32: a small generator with a seed. */
function generator(seed: number): () => number {
  let a = seed >>> 0;
  return () => {
    a = (a + 0x6d2b79f5) >>> 0;
    let t = a;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return (t ^ (t >>> 14)) >>> 0;
  };
}

// First bytes of system instructions; what follows is random.
const OPCODES: readonly (readonly number[])[] = [
  [0x0f, 0x00],
  [0x0f, 0x01],
  [0x0f, 0x02],
  [0x0f, 0x03],
  [0x0f, 0x05],
  [0x0f, 0x06],
  [0x0f, 0x07],
  [0x0f, 0x08],
  [0x0f, 0x09],
  [0x0f, 0x0b],
  [0x0f, 0x20],
  [0x0f, 0x21],
  [0x0f, 0x22],
  [0x0f, 0x23],
  [0x0f, 0x30],
  [0x0f, 0x31],
  [0x0f, 0x32],
  [0x0f, 0x33],
  [0x0f, 0x34],
  [0x0f, 0x35],
  [0x0f, 0xa1],
  [0x0f, 0xa2],
  [0x0f, 0xa9],
  [0x0f, 0xaa],
  [0x0f, 0xae],
  [0x0f, 0xb2],
  [0x0f, 0xb4],
  [0x0f, 0xb5],
  [0x0f, 0xc7],
  [0x0f, 0x38, 0x80],
  [0x0f, 0x38, 0x81],
  [0x0f, 0x38, 0x82],
  [0x07],
  [0x17],
  [0x1f],
  [0x63],
  [0x6c],
  [0x6d],
  [0x6e],
  [0x6f],
  [0x8e],
  [0x90],
  [0x9a],
  [0x9c],
  [0x9d],
  [0xc4],
  [0xc5],
  [0xca],
  [0xcb],
  [0xcc],
  [0xcd],
  [0xce],
  [0xcf],
  [0xe4],
  [0xe5],
  [0xe6],
  [0xe7],
  [0xea],
  [0xec],
  [0xed],
  [0xee],
  [0xef],
  [0xf1],
  [0xf4],
  [0xfa],
  [0xfb],
  [0xff],
];
const PREFIXES = [0x66, 0x67, 0x48, 0xf3, 0xf2, 0x64, 0x2e] as const;
const MODES: readonly (readonly [Bitness, () => TestEnvironment])[] = [
  [16, realMachine],
  [16, () => virtual8086Machine(0)],
  [16, () => virtual8086Machine(3)],
  [32, () => protectedMachine(0)],
  [32, () => protectedMachine(3)],
  [64, () => longMachine(0)],
  [64, () => longMachine(3)],
];

/** A machine in one of the modes with interesting registers, tables of random but likely descriptors, and gaps. */
function machine(random: () => number, make: () => TestEnvironment): TestEnvironment {
  const m = make();
  const pick = <T>(...from: readonly T[]): T => from[random() % from.length] as T;
  for (let n = 0; n < 16; n++) {
    const value = pick(0n, 1n, 0x10n, 0x3f8n, 0x5000n, 0x8000_0000n, 0xc000_0080n, 0x8000_0000_0000n, BigInt(random()));
    if (n !== 4) m.state.setGpr(n, value);
  }
  if (random() % 8 === 0) m.set("rsp", pick(0n, 2n, 0xffffn, 0x8000_0000_0000n, 0x5ffcn));
  const access = (): bigint => BigInt(random() % 256) | (random() % 4 === 0 ? 0n : 0x80n);
  for (let n = 1; n < 32; n++) {
    if (random() % 2 === 0) continue;
    const raw = BigInt(random()) | (BigInt(random()) << 32n);
    m.store(GDT + BigInt(n * 8), 8, (raw & ~0xff00_0000_0000n) | (access() << 40n));
  }
  const gates = m.get("cr0") & 1n ? 64 : 0;
  for (let n = 0; n < gates; n++) {
    const raw = BigInt(random() % 0x10000) | (BigInt((random() % 20) * 8) << 16n) | (access() << 40n);
    m.store(IDT + BigInt(n * 8), 8, raw);
  }
  for (let n = 0; n < 16; n++)
    m.store(STACK + BigInt(n * 4), 4, pick(0n, 0x5000n, BigInt((random() % 20) * 8), BigInt(random())));
  if (random() % 4 === 0) m.set("cr4", m.get("cr4") | BigInt(random() & 0x5708ff));
  if (random() % 4 === 0) m.state.rflags = (m.state.rflags & 0x20000n) | (BigInt(random()) & 0x1dffd5n & ~0x20000n);
  if (random() % 8 === 0) m.state.setSegment("tr", { ...m.state.segment("tr"), limit: random() % 0x90 });
  for (const page of [5n, STACK >> 12n, TSS >> 12n, 0x2fn]) if (random() % 16 === 0) m.missing.add(page);
  for (const name of ["sysenter_cs", "star", "lstar", "sysenter_eip"] as const) m.set(name, BigInt(random()) << 16n);
  return m;
}

function instruction(random: () => number): Uint8Array {
  const bytes: number[] = [];
  while (random() % 3 === 0) bytes.push(PREFIXES[random() % PREFIXES.length] ?? 0x66);
  bytes.push(...(OPCODES[random() % OPCODES.length] ?? [0x0f, 0x01]));
  for (let n = 0; n < 8; n++) bytes.push(random() % 3 === 0 ? (random() % 20) * 8 : random() & 0xff);
  return new Uint8Array(bytes);
}

const IGNORED = (["currentRip", "nextRip"] as const).map(slot);

describe("random system instructions over random state", () => {
  it("end by completing or by a fault that changed nothing, and never otherwise", () => {
    const random = generator(20261122);
    let run = 0;
    let faults = 0;
    const completed = new Set<number>();
    for (let n = 0; n < 30_000; n++) {
      const [bitness, make] = MODES[random() % MODES.length] ?? [64, longMachine];
      const bytes = instruction(random);
      const decoded = decode(bytes, CODE, bitness);
      if (decoded.kind !== "instruction") continue;
      const i = decoded.instruction;
      const id = systemHandlerId(i);
      if (id === undefined) continue;
      const m = machine(random, make);
      m.set("currentRip", CODE);
      m.set("nextRip", CODE + BigInt(i.length));
      const state = new Uint8Array(m.state.buffer.slice(0));
      const memory = new Map(m.memory);
      run++;
      try {
        runSystemInstruction(m, id, i);
        completed.add(id);
      } catch (error) {
        const what = `${Array.from(bytes.subarray(0, i.length), (b) => b.toString(16)).join(" ")} in mode of ${bitness}`;
        if (!(error instanceof GuestException)) throw new Error(`case ${n}: ${what}`, { cause: error });
        faults++;
        // General detect records itself in DR6 and DR7.
        if (error.vector === 1) continue;
        const after = new Uint8Array(m.state.buffer.slice(0));
        for (const at of IGNORED) {
          state.fill(0, at, at + 8);
          after.fill(0, at, at + 8);
        }
        const changed = after.findIndex((byte, at) => byte !== state[at]);
        if (changed >= 0)
          throw new Error(`case ${n}: ${what} changed the state at ${changed}, and raised ${error.vector}`);
        for (const [at, byte] of m.memory) {
          if ((memory.get(at) ?? 0) !== byte)
            throw new Error(`case ${n}: ${what} changed memory at ${at.toString(16)}`);
        }
      }
    }
    // The property is worth something only if both outcomes are common, over most handlers.
    expect(run).toBeGreaterThan(10_000);
    expect(faults).toBeGreaterThan(run / 5);
    expect(run - faults).toBeGreaterThan(run / 5);
    expect(completed.size).toBeGreaterThan(60);
  });
});
