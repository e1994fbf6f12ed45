import { describe, expect, it } from "vitest";
import { slot, type Bitness } from "@tapvisor/x86-isa";
import { CODE, DATA, Rig } from "./rig.js";

const CODE_BYTES = 0x1010;
const DATA_BYTES = 0x3000;
const ROUNDS = 60;
const INSTRUCTIONS = 150;

/** A seeded generator (mulberry32): the same programs in every run. */
function generator(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) % below;
  };
}

/** Opcodes of integer instructions, so that more than a few in a row do something. */
const ONE_BYTE = [
  0x00, 0x01, 0x02, 0x03, 0x10, 0x11, 0x19, 0x1b, 0x21, 0x29, 0x2b, 0x31, 0x39, 0x3b, 0x50, 0x53, 0x58, 0x63, 0x69,
  0x6b, 0x72, 0x75, 0x7c, 0x80, 0x81, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8a, 0x8b, 0x8d, 0x98, 0x99, 0x9c,
  0x9e, 0x9f, 0xa4, 0xaa, 0xac, 0xae, 0xa6, 0xc0, 0xc1, 0xd1, 0xd3, 0xe2, 0xe3, 0xf2, 0xf3, 0xf5, 0xf6, 0xf7, 0xf8,
  0xf9, 0xfc, 0xfd, 0xfe, 0xff,
]; // prettier-ignore
const TWO_BYTE = [
  0x42, 0x4c, 0x92, 0x9f, 0xa3, 0xa4, 0xa5, 0xab, 0xac, 0xad, 0xaf, 0xb0, 0xb1, 0xb3, 0xb6, 0xb7, 0xba, 0xbb, 0xbc,
  0xbd, 0xbe, 0xbf, 0xc0, 0xc1, 0xc7, 0xc8, 0xcf,
]; // prettier-ignore

function program(random: (below: number) => number, bitness: Bitness, plain: boolean): Uint8Array {
  const code = new Uint8Array(CODE_BYTES);
  for (let i = 0; i < CODE_BYTES; i++) code[i] = random(256);
  for (let i = 0; !plain && i < CODE_BYTES;) {
    if (random(6) === 0) code[i++] = 0x66;
    if (bitness === 64 && random(3) === 0) code[i++] = 0x48 | random(8);
    if (random(4) === 0) {
      code[i++] = 0x0f;
      code[i++] = TWO_BYTE[random(TWO_BYTE.length)] ?? 0;
    } else code[i++] = ONE_BYTE[random(ONE_BYTE.length)] ?? 0;
    // ModRM, more often with a register than with memory.
    code[i++] = random(3) === 0 ? random(256) : 0xc0 | random(64);
  }
  return code;
}

const CORNERS = [0n, 1n, 0x7fn, 0x80n, 0xffffn, 0x7fff_ffffn, 0x8000_0000n, 0xffff_ffffn, 1n << 63n, (1n << 64n) - 1n];

function registers(random: (below: number) => number, bitness: Bitness): bigint[] {
  const word = (): bigint => BigInt(random(0x1_0000_0000));
  return Array.from({ length: 16 }, (_, i) => {
    const kind = random(3);
    const corner = CORNERS[random(CORNERS.length)] ?? 0n;
    let value = kind === 0 ? corner : kind === 1 ? BigInt(DATA + random(DATA_BYTES)) : (word() << 32n) | word();
    if (i === 4) value = BigInt(DATA + 0x1800);
    return bitness === 16 ? value & 0xffffn : value;
  });
}

interface Start {
  readonly code: Uint8Array;
  readonly data: Uint8Array;
  readonly registers: readonly bigint[];
  readonly flags: bigint;
}

function prepare(rig: Rig, start: Start): void {
  rig.reset();
  const { ram } = rig.memory;
  ram.view(CODE, CODE_BYTES).set(start.code);
  ram.view(DATA, DATA_BYTES).set(start.data);
  ram.written(CODE, CODE_BYTES);
  ram.written(DATA, DATA_BYTES);
  start.registers.forEach((value, i) => rig.state.setGpr(i, value));
  rig.state.rflags = 2n | start.flags;
  rig.rip = CODE & (rig.bitness === 16 ? 0 : -1);
  if (rig.bitness === 16) rig.state.setSegment("cs", { selector: 0, base: BigInt(CODE), limit: 0xffff, rights: 0x9b });
  // A fault goes on somewhere else, and counts as an instruction so that every run ends.
  rig.onFault = () => {
    rig.retired(1);
    rig.rip = (CODE & (rig.bitness === 16 ? 0 : -1)) + ((rig.faults.length * 7919) % 0xf00);
  };
}

/** All that the two must have in common, as text. */
function describeState(rig: Rig): string {
  const { state } = rig;
  return JSON.stringify({
    registers: Array.from({ length: 16 }, (_, i) => state.gpr(i).toString(16)),
    rip: rig.rip.toString(16),
    flags: state.rflags.toString(16),
    retired: rig.retiredCount,
    traps: rig.trapCount,
    faults: rig.faults.map(({ vector, errorCode, cr2 }) => `${vector} ${errorCode} ${cr2}`),
    interruptibility: state.get32(slot("interruptibility")),
  });
}

describe.each([64, 32, 16] as const)("random %i-bit programs", (bitness) => {
  it("do the same in the interpreter and in the stepper", () => {
    const random = generator(bitness);
    const stepped = new Rig(bitness);
    const interpreted = new Rig(bitness);
    let faults = 0;
    for (let round = 0; round < ROUNDS; round++) {
      const start: Start = {
        code: program(random, bitness, round % 4 === 0),
        data: Uint8Array.from({ length: DATA_BYTES }, () => random(256)),
        registers: registers(random, bitness),
        flags: BigInt(random(0x1_0000) & 0xcd5),
      };
      prepare(stepped, start);
      prepare(interpreted, start);
      for (let left = INSTRUCTIONS; left > 0;) {
        const piece = Math.min(left, 1 + random(60));
        left -= piece;
        stepped.run("stepper", piece);
        interpreted.run("interpreter", piece);
        expect(describeState(interpreted), `round ${round}`).toBe(describeState(stepped));
      }
      faults += stepped.faults.length;
      const memoryOf = (rig: Rig): Uint8Array => rig.memory.ram.view(0, 0x60_000);
      expect(
        memoryOf(interpreted).every((byte, i) => byte === memoryOf(stepped)[i]),
        `memory of round ${round}`,
      ).toBe(true);
    }
    // Most of what was generated is to be executed.
    expect(faults).toBeLessThan((ROUNDS * INSTRUCTIONS) / 2);
  });
});
