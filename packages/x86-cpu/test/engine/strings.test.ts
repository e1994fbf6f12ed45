import { describe, expect, it } from "vitest";
import { Assembler, reg, slot, type Bitness } from "@tapvisor/x86-isa";
import { CODE, DATA, Rig } from "./rig.js";

const ROUNDS = 150;
const AREA_BYTES = 0x4000;
/** The rig's 64-bit code has nothing mapped from here on, its 32-bit code no RAM beyond the next one. */
const MAPPED_END = 6 << 20;
const RAM_END = 8 << 20;

/** A seeded generator (mulberry32): the same cases in every run. */
function generator(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) % below;
  };
}

interface Case {
  readonly code: Uint8Array;
  readonly source: number;
  readonly target: number;
  readonly count: number;
  readonly al: number;
  readonly down: boolean;
  /** Instructions of each run, one after another. */
  readonly pieces: readonly number[];
}

type Random = (below: number) => number;

/** One repeated string instruction, then HLT. */
function instruction(random: Random, bitness: Bitness): { code: Uint8Array; text: string } {
  const suffix =
    (["b", "w", "d", ...(bitness === 64 ? (["q"] as const) : [])] as const)[random(bitness === 64 ? 4 : 3)] ?? "b";
  const stem = (["movs", "movs", "stos", "lods", "cmps", "scas"] as const)[random(6)] ?? "movs";
  const prefix = random(2) === 0 ? ("rep" as const) : ("repne" as const);
  const a = new Assembler(bitness);
  a[prefix]();
  if (stem === "movs" && suffix === "d") a.movsd();
  else if (stem === "cmps" && suffix === "d") a.cmpsd();
  else a[`${stem}${suffix}` as "stosb"]();
  return { code: a.hlt().assemble(CODE).bytes, text: `${prefix} ${stem}${suffix}` };
}

/** Pointers that are likely to meet: pages' ends, each other, the program itself, the end of what is mapped. */
function pointer(random: Random, bitness: Bitness): number {
  const kind = random(12);
  if (kind === 0) return (bitness === 64 ? MAPPED_END : RAM_END) - 1 - random(300);
  if (kind === 1) return CODE - 600 + random(500);
  if (kind < 6) return DATA + 0x1000 * (1 + random(2)) - 40 + random(80);
  return DATA + random(AREA_BYTES);
}

function prepare(rig: Rig, c: Case, data: Uint8Array): void {
  rig.reset();
  const { ram } = rig.memory;
  ram.view(DATA, data.length).set(data);
  ram.view(CODE, c.code.length).set(c.code);
  ram.view(MAPPED_END - 0x1000, 0x1000).fill(0);
  ram.view(RAM_END - 0x1000, 0x1000).fill(0);
  ram.written(CODE, c.code.length);
  rig.state.rflags = c.down ? 0x402n : 2n;
  rig.rip = CODE;
  [c.al, c.count, 0, 0, DATA, 0, c.source, c.target].forEach((value, i) => {
    // Bits beyond the mode's width are nobody's business.
    const above = rig.bitness === 64 || i === 4 ? 0n : 0xdead_beef_0000_0000n;
    rig.state.setGpr(i, BigInt(value) | above);
  });
}

const words = ({ state, retiredCount, faults, rip }: Rig): string =>
  JSON.stringify({
    registers: [0, 1, 6, 7].map((i) => state.gpr(i).toString(16)),
    flags: state.rflags.toString(16),
    rip: rip.toString(16),
    retired: retiredCount,
    faults: faults.map(({ vector, errorCode, cr2 }) => `${vector} ${errorCode} ${cr2}`),
    halted: state.get32(slot("activity")),
  });

describe.each([64, 32] as const)("repeated string instructions in %i-bit code", (bitness) => {
  it("do the same in the interpreter, many elements at once, as one by one in the stepper", () => {
    const random = generator(bitness);
    const [stepped, interpreted] = [new Rig(bitness), new Rig(bitness)];
    for (let round = 0; round < ROUNDS; round++) {
      const { code, text } = instruction(random, bitness);
      const source = pointer(random, bitness);
      const near = random(3) === 0;
      const c: Case = {
        code,
        source,
        target: near ? source - 20 + random(40) : pointer(random, bitness),
        count: random(8) === 0 ? random(2) : random(600),
        al: random(3),
        down: random(3) === 0,
        pieces: random(2) === 0 ? [1000] : [random(5) + 1, random(200) + 1, 1000],
      };
      // Few different bytes, in runs: comparisons go on for some time.
      let byte = 0;
      const data = Uint8Array.from({ length: AREA_BYTES }, () => (byte = random(100) === 0 ? random(3) : byte));
      prepare(stepped, c, data);
      prepare(interpreted, c, data);
      for (const piece of c.pieces) {
        stepped.run("stepper", piece);
        interpreted.run("interpreter", piece);
        expect(words(interpreted), `round ${round}: ${text} ${JSON.stringify(c)}`).toBe(words(stepped));
      }
      const memoryOf = (rig: Rig): Uint8Array => rig.memory.ram.view(0, RAM_END);
      expect(Buffer.compare(memoryOf(interpreted), memoryOf(stepped)), `memory of round ${round}: ${text}`).toBe(0);
    }
  });
});

describe("a repeated store", () => {
  it("is done many elements at once: fuel is taken for each", () => {
    const rig = new Rig(64);
    rig.load((a) => a.rep().stosq().hlt());
    rig.state.setGpr(1, 512n);
    rig.state.setGpr(7, BigInt(DATA));
    rig.state.setGpr(0, 0x0102_0304_0506_0708n);
    rig.run("interpreter", 300);
    expect(rig.retiredCount).toBe(300);
    expect(rig.state.gpr(1)).toBe(212n);
    expect(rig.state.gpr(7)).toBe(BigInt(DATA + 300 * 8));
    expect(rig.memory.ram.readU64(DATA + 299 * 8)).toBe(0x0102_0304_0506_0708n);
    expect(rig.memory.ram.readU64(DATA + 300 * 8)).toBe(0n);
  });

  it("over the code that executes it goes on with the new code", () => {
    const rig = new Rig(64);
    // STOSB of HLT over itself and what follows, which would set EBX.
    rig.load((a) => a.nop().rep().stosb().mov(reg.ebx, 1).hlt());
    rig.state.setGpr(0, 0xf4n);
    rig.state.setGpr(1, 64n);
    rig.state.setGpr(7, BigInt(CODE - 8));
    rig.run("interpreter", 1000);
    expect(rig.state.get32(slot("activity"))).toBe(1);
    expect(rig.state.gpr(3)).toBe(0n);
  });
});
