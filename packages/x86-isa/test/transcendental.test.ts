import { describe, expect, it } from "vitest";
import {
  CpuState,
  decode,
  evaluate,
  initX87,
  liftInstruction,
  slot,
  type CodeMode,
  type ExecutionEnvironment,
} from "../src/index.js";

const MODE: CodeMode = { bitness: 64, stackBytes: 8, flat: false, virtual8086: false, protectedMode: true };
const state = new CpuState();
const [C1, C2, PE, IE] = [0x200, 0x400, 0x20, 1];

const physical = (i: number): number =>
  slot("st0") + ((((state.view.getUint16(slot("fsw"), true) >> 11) & 7) + i) & 7) * 16;
const st = (i: number): bigint =>
  state.get64(physical(i)) | (BigInt(state.view.getUint16(physical(i) + 8, true)) << 64n);

/** Execute D9 xx with ST(0) and ST(1) as given. */
function run(opcode: number, first: bigint, second = 0n, control = 0x37f): { st0: bigint; st1: bigint; fsw: number } {
  initX87(state);
  state.view.setUint16(slot("fcw"), control, true);
  state.view.setUint16(slot("fsw"), 3 << 11, true);
  state.view.setUint8(slot("ftw"), 0x18);
  for (const [i, value] of [first, second].entries()) {
    state.set64(physical(i), BigInt.asUintN(64, value));
    state.set64(physical(i) + 8, value >> 64n);
  }
  const decoded = decode(Uint8Array.of(0xd9, opcode), 0x1000n, 64);
  if (decoded.kind !== "instruction") throw new Error(decoded.kind);
  evaluate(liftInstruction(decoded.instruction, MODE), { state } as unknown as ExecutionEnvironment);
  return { st0: st(0), st1: st(1), fsw: state.view.getUint16(slot("fsw"), true) };
}

const [F2XM1, FYL2X, FPTAN, FPATAN, FYL2XP1, FSINCOS, FSIN, FCOS] = [0xf0, 0xf1, 0xf2, 0xf3, 0xf9, 0xfb, 0xfe, 0xff];
const ONE = 0x3fff_8000_0000_0000_0000n;
const HALF = 0x3ffe_8000_0000_0000_0000n;
const TWO = 0x4000_8000_0000_0000_0000n;
const MINUS = 1n << 79n;
const INFINITY = 0x7fff_8000_0000_0000_0000n;
const INDEFINITE = 0xffff_c000_0000_0000_0000n;
const PI = 0x4000_c90f_daa2_2168_c235n;
/** 2^63, and the number before it. */
const LIMIT = 0x403e_8000_0000_0000_0000n;
const BELOW_LIMIT = 0x403d_ffff_ffff_ffff_ffffn;

describe("the trigonometric instructions", () => {
  it("give the nearest value", () => {
    expect(run(FSIN, ONE).st0).toBe(0x3ffe_d76a_a478_4867_7021n);
    expect(run(FCOS, ONE).st0).toBe(0x3ffe_8a51_407d_a834_5c92n);
    const both = run(FSINCOS, ONE);
    expect([both.st1, both.st0]).toEqual([0x3ffe_d76a_a478_4867_7021n, 0x3ffe_8a51_407d_a834_5c92n]);
    const tangent = run(FPTAN, ONE);
    expect([tangent.st1, tangent.st0]).toEqual([0x3fff_c759_22e5_f71d_2dc5n, ONE]);
    expect(run(FPATAN, ONE, ONE).st0).toBe(0x3ffe_c90f_daa2_2168_c235n);
  });

  it("reduce by 66 bits of pi, as processors do", () => {
    // The sine of pi rounded to 64 bits is 2^-64 times what the 65th and 66th bit of pi are short of it.
    expect(run(FSIN, PI).st0).toBe(MINUS | 0x3fbf_8000_0000_0000_0000n);
  });

  it("leave an operand from 2^63 on, and say so by C2", () => {
    for (const opcode of [FSIN, FCOS, FSINCOS, FPTAN]) {
      const { st0, fsw } = run(opcode, LIMIT);
      expect([st0, fsw & C2, (fsw >> 11) & 7]).toEqual([LIMIT, C2, 3]);
      expect(run(opcode, BELOW_LIMIT).fsw & C2).toBe(0);
    }
  });

  it("are invalid on infinities, and exact on zeros", () => {
    for (const opcode of [FSIN, FCOS]) {
      const { st0, fsw } = run(opcode, INFINITY);
      expect([st0, fsw & (IE | PE)]).toEqual([INDEFINITE, IE]);
    }
    expect([run(FSIN, MINUS).st0, run(FSIN, MINUS).fsw & PE]).toEqual([MINUS, 0]);
    expect([run(FCOS, MINUS).st0, run(FCOS, MINUS).fsw & PE]).toEqual([ONE, 0]);
  });

  it("round a sine near its argument by the rounding control", () => {
    const tiny = 0x3f00_8000_0000_0000_0000n;
    expect(run(FSIN, tiny)).toMatchObject({ st0: tiny });
    expect(run(FSIN, tiny).fsw & (PE | C1)).toBe(PE | C1);
    expect(run(FSIN, tiny, 0n, 0xf7f).st0).toBe(0x3eff_ffff_ffff_ffff_ffffn);
    expect(run(FPTAN, tiny, 0n, 0xb7f).st1).toBe(tiny + 1n);
  });
});

describe("FPATAN", () => {
  it("finds the quadrant by the signs", () => {
    expect(run(FPATAN, MINUS | ONE, ONE).st0).toBe(0x4000_96cb_e3f9_990e_91a8n);
    expect(run(FPATAN, MINUS | ONE, MINUS | ONE).st0).toBe(MINUS | 0x4000_96cb_e3f9_990e_91a8n);
    expect(run(FPATAN, MINUS, 0n).st0).toBe(PI);
    expect(run(FPATAN, 0n, MINUS).st0).toBe(MINUS);
    expect(run(FPATAN, INFINITY, INFINITY).st0).toBe(0x3ffe_c90f_daa2_2168_c235n);
  });
});

describe("the logarithms and the power", () => {
  it("are exact where they can be", () => {
    expect(run(FYL2X, 0x4002_8000_0000_0000_0000n, ONE)).toMatchObject({ st0: 0x4000_c000_0000_0000_0000n });
    expect(run(FYL2X, 0x4002_8000_0000_0000_0000n, ONE).fsw & PE).toBe(0);
    expect(run(F2XM1, ONE).st0).toBe(ONE);
    expect(run(F2XM1, MINUS | ONE).st0).toBe(MINUS | HALF);
  });

  it("give the nearest value elsewhere", () => {
    // log2(10), and 1.5 for the other two.
    expect(run(FYL2X, 0x4002_a000_0000_0000_0000n, ONE).st0).toBe(0x4000_d49a_784b_cd1b_8afen);
    expect(run(FYL2XP1, HALF, ONE).st0).toBe(0x3ffe_95c0_1a39_fbd6_87a0n);
    expect(run(F2XM1, HALF).st0).toBe(0x3ffd_d413_cccf_e779_9211n);
  });

  it("know the poles", () => {
    expect(run(FYL2X, 0n, ONE)).toMatchObject({ st0: MINUS | INFINITY });
    expect(run(FYL2X, 0n, ONE).fsw & 4).toBe(4);
    expect(run(FYL2X, MINUS | ONE, ONE).st0).toBe(INDEFINITE);
    expect(run(FYL2X, ONE, INFINITY).st0).toBe(INDEFINITE);
    expect(run(FYL2X, TWO, INFINITY).st0).toBe(INFINITY);
  });
});
