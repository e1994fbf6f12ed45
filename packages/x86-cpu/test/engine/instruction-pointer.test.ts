import { describe, expect, it } from "vitest";
import { reg, type Assembler } from "@tapvisor/x86-isa";
import { Rig } from "./rig.js";

const { al, ax } = reg;
/** The last bytes whose offsets fit 16 bits lie here. */
const NEAR_END = 0xfff0;

/** 16-bit code in a segment of 4 GiB: offsets beyond 0xffff can be reached. */
class BigCode16 extends Rig {
  constructor() {
    super(16);
    const { state } = this;
    state.setSegment("cs", { ...state.segment("cs"), limit: 0xffff_ffff });
    this.guest.modeChanged();
  }
}

describe.each(["interpreter", "stepper"] as const)("EIP in 16-bit code, on the %s", (engine) => {
  const run = (write: (a: Assembler) => void, at = NEAR_END, rig: Rig = new BigCode16()): Rig => {
    rig.load(write, at);
    rig.run(engine);
    return rig;
  };
  /** NOPs up to `end`, so that the next instruction lies there. */
  const nops = (a: Assembler, count: number): Assembler => {
    for (let n = 0; n < count; n++) a.nop();
    return a;
  };

  it("goes on past 0xffff in sequence", () => {
    const rig = run((a) => nops(a, 0x10).mov(ax, 5).hlt());
    expect(rig.faults).toEqual([]);
    expect(rig.state.gpr(0)).toBe(5n);
    expect(rig.rip).toBe(0x10004);
  });
  it("goes on past 0xffff at a branch that is not taken", () => {
    const rig = run((a) => nops(a.cmp(al, 1), 0xc).db(0x74, 0x10).hlt());
    expect(rig.faults).toEqual([]);
    expect(rig.rip).toBe(0x10001);
  });
  it("loses its upper half to a branch of 16 bits that is taken", () => {
    const rig = new BigCode16();
    rig.memory.ram.view(0x100, 1).set([0xf4]);
    run((a) => nops(a, 0x10).cmp(al, al).db(0x0f, 0x84, 0xfa, 0x00), NEAR_END, rig);
    expect(rig.rip).toBe(0x101);
  });
  it("is pushed by its lower half", () => {
    const rig = new BigCode16();
    rig.memory.ram.view(0x100, 1).set([0xf4]);
    run((a) => nops(a, 0x10).db(0xe8, 0xfd, 0x00), NEAR_END, rig);
    expect(rig.state.gpr(4)).toBe(0xfefen);
    expect([...rig.memory.ram.view(0xfefc, 4)]).toEqual([0, 0, 3, 0]);
  });
  it("of a fault beyond 0xffff is that of the instruction", () => {
    const rig = run((a) => nops(a, 0x12).ud2());
    expect(rig.faults.map(({ vector }) => vector)).toEqual([6]);
    expect(rig.rip).toBe(0x10002);
  });
  it("repeats a string instruction where it is", () => {
    const rig = new BigCode16();
    rig.state.setGpr(1, 3n);
    rig.state.setGpr(7, 0x2000n);
    run((a) => nops(a, 0x11).rep().stosb().hlt(), NEAR_END, rig);
    expect(rig.state.gpr(1) & 0xffffn).toBe(0n);
    expect(rig.rip).toBe(0x10004);
  });
  it("meets the limit of a segment of 64 KiB", () => {
    const rig = run((a) => nops(a, 0x10).hlt(), NEAR_END, new Rig(16));
    expect(rig.faults.map(({ vector, errorCode }) => [vector, errorCode])).toEqual([[13, 0]]);
    expect(rig.rip).toBe(0x10000);
  });
});
