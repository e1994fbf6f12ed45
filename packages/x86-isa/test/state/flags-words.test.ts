import { describe, expect, it } from "vitest";
import { ARITHMETIC_FLAGS, CpuState, decodeFlags, decodeFlags32, encodeFlags } from "@tapvisor/x86-isa";

const ALL = Array.from({ length: 64 }, (_, i) =>
  [0, 2, 4, 6, 7, 11].reduce((flags, bit, n) => flags | (((i >> n) & 1) << bit), 2),
);

describe("RFLAGS as a word", () => {
  it.each(ALL)("0x%s reads back through the bigint accessor, and the other way round", (flags) => {
    const state = new CpuState();
    state.eflags = flags | 0x40200;
    expect(state.rflags).toBe(BigInt(flags | 0x40200));
    state.rflags = BigInt(flags);
    expect(state.eflags).toBe(flags);
  });

  it("decodes what arithmetic leaves behind as the bigint meaning does", () => {
    let seed = 12345;
    const next = (): number => (seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0);
    for (let i = 0; i < 500; i++) {
      const low = i % 5 === 0 ? 0 : next();
      const high = i % 3 === 0 ? 0 : next();
      const auxLow = next() & 0xff18;
      const auxHigh = (next() & 0xc0000000) >>> 0;
      const expected = decodeFlags((BigInt(high) << 32n) | BigInt(low), (BigInt(auxHigh) << 32n) | BigInt(auxLow));
      expect(BigInt(decodeFlags32(low, high, auxLow, auxHigh))).toBe(expected);
    }
  });

  it("keeps only the arithmetic flags in the lazy words", () => {
    const { flagResult, flagAux } = encodeFlags(0xffffffffn);
    expect(decodeFlags(flagResult, flagAux)).toBe(ARITHMETIC_FLAGS);
  });
});
