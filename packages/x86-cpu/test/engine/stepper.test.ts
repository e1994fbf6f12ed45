import { describe, expect, it } from "vitest";
import { reg, slot, word, type Assembler } from "@tapvisor/x86-isa";
import { CODE as LINEAR, Rig } from "./rig.js";

const { ax, ss } = reg;
const CODE = LINEAR & 0x7fff;
const WATCHED = 0x4000;
const BREAKPOINT_0 = 1n;
const SINGLE_STEP = 0x4000n;

/** A rig in real mode, where MOV SS takes any selector, which records its traps as `[conditions, offset in the code]`. */
class TrapRig extends Rig {
  readonly traps: [bigint, number][] = [];
  constructor() {
    super(16);
    this.state.set64(slot("cr0"), 0x30n);
    for (const name of ["cs", "ds", "es", "ss", "fs", "gs"] as const) {
      this.state.setSegment(name, { selector: 0, base: 0n, limit: 0xffff, rights: 0x93 });
    }
    this.guest.modeChanged();
  }
  override debugTrap(conditions: bigint): void {
    this.traps.push([conditions, this.rip - CODE]);
  }
  /** Watch reads and writes of two bytes. */
  watch(): void {
    this.state.set64(slot("dr0"), BigInt(WATCHED));
    this.state.set64(slot("dr7"), 0x400n | 1n | (0b0111n << 16n));
  }
  step(count: number, write: (a: Assembler) => void): void {
    this.load(write, CODE);
    for (let n = 0; n < count; n++) this.stepper.step();
  }
}

describe("debug traps", () => {
  it("come after the instruction that touches the watched bytes", () => {
    const rig = new TrapRig();
    rig.watch();
    rig.step(3, (a) => a.nop().mov(ax, word(WATCHED)).nop());
    expect(rig.traps).toEqual([[BREAKPOINT_0, 4]]);
  });
  it("of MOV SS wait for the instruction after it", () => {
    const rig = new TrapRig();
    rig.watch();
    rig.step(3, (a) => a.mov(ss, word(WATCHED)).nop().nop());
    expect(rig.traps).toEqual([[BREAKPOINT_0, 5]]);
    expect(rig.state.get64(slot("pendingDebug"))).toBe(0n);
  });
  it("that wait are among the pending debug exceptions", () => {
    const rig = new TrapRig();
    rig.watch();
    rig.step(1, (a) => a.mov(ss, word(WATCHED)));
    expect(rig.traps).toEqual([]);
    expect(rig.state.get64(slot("pendingDebug"))).toBe(0x1001n);
  });
  it("of code do not come at the instruction after MOV SS", () => {
    const breakAt = (offset: number): TrapRig => {
      const rig = new TrapRig();
      rig.state.set64(slot("dr0"), BigInt(CODE + offset));
      rig.state.set64(slot("dr7"), 0x402n);
      return rig;
    };
    const after = breakAt(2);
    after.step(3, (a) => a.mov(ss, ax).nop().nop());
    expect(after.faults).toEqual([]);
    const later = breakAt(3);
    later.step(3, (a) => a.mov(ss, ax).nop().nop());
    expect(later.faults.map(({ vector }) => vector)).toEqual([1]);
  });
  it("of single steps skip MOV SS", () => {
    const rig = new TrapRig();
    rig.state.rflags = 0x102n;
    rig.step(3, (a) => a.mov(ss, ax).nop().nop());
    expect(rig.traps).toEqual([
      [SINGLE_STEP, 3],
      [SINGLE_STEP, 4],
    ]);
  });
});

describe("a code breakpoint", () => {
  const hits = (write: (a: Assembler) => void) => {
    const rig = new TrapRig();
    const at: number[] = [];
    rig.exception = (fault) => {
      if (fault.vector === 1) at.push(rig.rip - CODE);
    };
    rig.state.set64(slot("dr0"), BigInt(CODE + 2));
    rig.state.set64(slot("dr7"), 0x401n);
    rig.step(2, write);
    return at;
  };
  it("stops the instruction that it is at", () => expect(hits((a) => a.mov(ax, ss).nop())).toEqual([2]));
  it("is suppressed right after MOV SS", () => expect(hits((a) => a.mov(ss, ax).nop())).toEqual([]));
});
