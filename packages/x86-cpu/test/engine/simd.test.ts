import { describe, expect, it } from "vitest";
import { reg, slot, type Assembler, type SlotName } from "@tapvisor/x86-isa";
import { CODE, DATA, Rig } from "./rig.js";

const { rbx, eax } = reg;

const TS = 8n;
const EM = 4n;
const OSFXSR = 0x200n;
/** First byte past what the rig maps. */
const UNMAPPED = 0x60_0000;

const vector = (rig: Rig, name: SlotName): bigint =>
  rig.state.get64(slot(name)) | (rig.state.get64(slot(name) + 8) << 64n);
function setVector(rig: Rig, name: SlotName, value: bigint): void {
  rig.state.set64(slot(name), BigInt.asUintN(64, value));
  rig.state.set64(slot(name) + 8, value >> 64n);
}
const control = (rig: Rig, name: "cr0" | "cr4", set: bigint, clear = 0n): void => {
  rig.state.set64(slot(name), (rig.state.get64(slot(name)) | set) & ~clear);
  rig.guest.modeChanged();
};

const A = 0x0f0e_0d0c_0b0a_0908_0706_0504_0302_0100n;

const paddb = (a: Assembler): Assembler => a.db(0x66, 0x0f, 0xfc, 0xc1); // paddb xmm0, xmm1
const movups = (a: Assembler): Assembler => a.db(0x0f, 0x10, 0x03); // movups xmm0, [rbx]
const movupsTo = (a: Assembler): Assembler => a.db(0x0f, 0x11, 0x03); // movups [rbx], xmm0
const movaps = (a: Assembler): Assembler => a.db(0x0f, 0x28, 0x03); // movaps xmm0, [rbx]

describe.each(["interpreter", "stepper"] as const)("vector instructions in the %s", (how) => {
  it("move 16 bytes from anywhere to anywhere, across pages too", () => {
    const rig = new Rig(64);
    rig.memory.ram.writeU64(DATA + 0xff9, BigInt.asUintN(64, A));
    rig.memory.ram.writeU64(DATA + 0x1001, A >> 64n);
    rig.load((a) => {
      movups(a.mov(rbx, BigInt(DATA + 0xff9)));
      movupsTo(a.mov(rbx, BigInt(DATA + 0x1ff3))).hlt();
    });
    rig.run(how);
    expect(rig.faults).toEqual([]);
    expect(vector(rig, "xmm0")).toBe(A);
    expect(rig.memory.ram.readU64(DATA + 0x1ff3)).toBe(BigInt.asUintN(64, A));
    expect(rig.memory.ram.readU64(DATA + 0x1ffb)).toBe(A >> 64n);
  });

  it("store nothing if the second page is not there", () => {
    const rig = new Rig(64);
    setVector(rig, "xmm0", A);
    rig.load((a) => movupsTo(a.mov(rbx, BigInt(UNMAPPED - 8))).hlt());
    rig.run(how);
    expect(rig.faults.map(({ vector: number, cr2 }) => [number, cr2])).toEqual([[14, BigInt(UNMAPPED)]]);
    expect(rig.memory.ram.readU64(UNMAPPED - 8)).toBe(0n);
  });

  it("leave RIP at the one whose operand is not aligned", () => {
    const rig = new Rig(64);
    const symbols = rig.load((a) => {
      const before = paddb(a.mov(rbx, BigInt(DATA + 4)).mov(eax, 1)).label("fault");
      movaps(before).mov(eax, 2).hlt();
    });
    setVector(rig, "xmm1", A);
    rig.run(how);
    expect(rig.faults.map(({ vector: number, errorCode }) => [number, errorCode])).toEqual([[13, 0]]);
    expect(BigInt(rig.rip)).toBe(symbols.get("fault"));
    expect(vector(rig, "xmm0")).toBe(A);
    expect(rig.state.gpr(0)).toBe(1n);
    expect(rig.retiredCount).toBe(3);
  });

  it("raise #NM once CR0.TS is set, and go on when it is clear again, in code that has run before", () => {
    const rig = new Rig(64);
    rig.load((a) => paddb(a.mov(eax, 1)).hlt());
    setVector(rig, "xmm1", 1n);
    rig.run(how);
    expect(rig.faults).toEqual([]);
    control(rig, "cr0", TS);
    rig.rip = CODE;
    rig.onFault = () => control(rig, "cr0", 0n, TS);
    rig.run(how);
    expect(rig.faults.map(({ vector: number, errorCode }) => [number, errorCode])).toEqual([[7, undefined]]);
    expect(vector(rig, "xmm0")).toBe(2n);
    rig.rip = CODE;
    rig.run(how);
    expect(rig.faults.length).toBe(1);
    expect(vector(rig, "xmm0")).toBe(3n);
  });

  it("raise #UD while CR4.OSFXSR is clear or CR0.EM is set, and are not named as missing", () => {
    const rig = new Rig(64);
    rig.load((a) => paddb(a).hlt());
    control(rig, "cr4", 0n, OSFXSR);
    rig.run(how);
    control(rig, "cr4", OSFXSR);
    control(rig, "cr0", EM);
    rig.faults.length = 0;
    rig.run(how);
    expect(rig.faults.map(({ vector: number }) => number)).toEqual([6]);
    expect(rig.missing).toEqual([]);
    control(rig, "cr0", 0n, EM);
    rig.faults.length = 0;
    rig.run(how);
    expect(rig.faults).toEqual([]);
  });
});
