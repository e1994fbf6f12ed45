import { describe, expect, it } from "vitest";
import { CR0, CR4, FSW, mem, reg, slot, X87_NUMBERS, XMM_NUMBERS } from "../../src/index.js";
import { faultOf, longMachine, protectedMachine, type TestEnvironment } from "./test-environment.js";

const { rbx, ebx } = reg;
const [UD, NM, GP, PF] = [6, 7, 13, 14];
const AREA = 0x50000n;
const area = mem(rbx);

/** Every register of the x87 and SSE has a value of its own; TOP is 3. */
function fill(m: TestEnvironment): void {
  const { view } = m.state;
  view.setUint16(slot("fcw"), 0x27f, true);
  view.setUint16(slot("fsw"), (3 << 11) | FSW.C3 | FSW.PE, true);
  view.setUint16(slot("ftw"), 0xf0, true);
  view.setUint16(slot("fop"), 0x123, true);
  m.set("fip", 0x1111_2222_3333_4444n);
  m.set("fdp", 0x5555_6666_7777_8888n);
  m.state.set32(slot("mxcsr"), 0x9fc0);
  for (const n of X87_NUMBERS) {
    m.set(`st${n}`, 0x8000_0000_0000_0000n | BigInt(n));
    view.setBigUint64(slot(`st${n}`) + 8, 0x4000n + BigInt(n), true);
  }
  for (const n of XMM_NUMBERS) {
    m.set(`xmm${n}`, 0xa000n + BigInt(n));
    view.setBigUint64(slot(`xmm${n}`) + 8, 0xb000n + BigInt(n), true);
  }
}

function prepare(machine: TestEnvironment): TestEnvironment {
  machine.set("rbx", AREA);
  machine.set("cr4", machine.get("cr4") | CR4.OSFXSR | CR4.OSXSAVE);
  machine.set("xcr0", 3n);
  machine.set("rax", 0xffff_ffffn);
  machine.set("rdx", 0xffff_ffffn);
  fill(machine);
  return machine;
}
const long = (): TestEnvironment => prepare(longMachine());
const protectedMode = (): TestEnvironment => prepare(protectedMachine());

/** The registers of the x87 and SSE, as bytes. */
const registers = (m: TestEnvironment): Uint8Array =>
  new Uint8Array(m.state.buffer.slice(slot("fcw"), slot("xmm15") + 16));
function clear(m: TestEnvironment): void {
  new Uint8Array(m.state.buffer).fill(0, slot("fcw"), slot("xmm15") + 16);
  m.state.set32(slot("mxcsr"), 0);
}
const quad = (m: TestEnvironment, offset: number): bigint => m.load(AREA + BigInt(offset), 8);
const setQuad = (m: TestEnvironment, offset: number, value: bigint): void => m.store(AREA + BigInt(offset), 8, value);

describe("FXSAVE and FXRSTOR", () => {
  it("raise #NM with EM or TS, and #GP(0) off a boundary of 16 bytes", () => {
    for (const bit of [CR0.EM, CR0.TS]) {
      const m = long();
      m.set("cr0", m.get("cr0") | bit);
      expect(faultOf(m, () => m.run((a) => a.fxsave(area)))).toEqual([NM, undefined]);
      expect(faultOf(m, () => m.run((a) => a.fxrstor(area)))).toEqual([NM, undefined]);
    }
    const m = long();
    m.set("rbx", AREA + 8n);
    expect(faultOf(m, () => m.run((a) => a.fxsave(area)))).toEqual([GP, 0]);
    expect(faultOf(m, () => m.run((a) => a.fxrstor(area)))).toEqual([GP, 0]);
  });

  it("change nothing if the area's second page is missing", () => {
    const m = long();
    m.set("rbx", 0x50f00n);
    m.missing.add(0x51n);
    expect(faultOf(m, () => m.run((a) => a.fxsave(area)))).toEqual([PF, 2]);
    expect(faultOf(m, () => m.run((a) => a.fxrstor(area)))).toEqual([PF, 0]);
  });

  it("store the registers from ST(0) on, and load the same again", () => {
    const m = long();
    const before = registers(m);
    m.run((a) => a.fxsave64(area));
    expect(quad(m, 0)).toBe(0x0123_00f0_5820_027fn);
    expect([quad(m, 8), quad(m, 16)]).toEqual([0x1111_2222_3333_4444n, 0x5555_6666_7777_8888n]);
    expect(quad(m, 24)).toBe(0xffff_0000_9fc0n);
    expect([quad(m, 32), quad(m, 40)]).toEqual([0x8000_0000_0000_0003n, 0x4003n]);
    expect([quad(m, 32 + 16 * 5), quad(m, 40 + 16 * 5)]).toEqual([0x8000_0000_0000_0000n, 0x4000n]);
    expect([quad(m, 160 + 240), quad(m, 168 + 240)]).toEqual([0xa00fn, 0xb00fn]);
    clear(m);
    m.run((a) => a.fxrstor64(area));
    expect(registers(m)).toEqual(before);
    expect(m.state.get32(slot("mxcsr"))).toBe(0x9fc0);
  });

  it("have pointers of 32 bits and no selectors without REX.W", () => {
    const m = long();
    m.run((a) => a.fxsave(area));
    expect([quad(m, 8), quad(m, 16)]).toEqual([0x3333_4444n, 0x7777_8888n]);
    setQuad(m, 8, 0xffff_ffff_3333_4444n);
    m.run((a) => a.fxrstor(area));
    expect(m.get("fip")).toBe(0x3333_4444n);
  });

  it("leave XMM8 to XMM15 alone outside 64-bit mode", () => {
    const m = protectedMode();
    m.run((a) => a.fxsave(mem(ebx)));
    expect(quad(m, 160 + 7 * 16)).toBe(0xa007n);
    expect(quad(m, 160 + 8 * 16)).toBe(0n);
    m.set("xmm8", 0x77n);
    m.run((a) => a.fxrstor(mem(ebx)));
    expect(m.get("xmm8")).toBe(0x77n);
  });

  it("leave the SSE registers alone without CR4.OSFXSR", () => {
    const m = long();
    m.set("cr4", m.get("cr4") & ~CR4.OSFXSR);
    m.run((a) => a.fxsave(area));
    expect([quad(m, 24), quad(m, 160)]).toEqual([0n, 0n]);
    m.run((a) => a.fxrstor(area));
    expect(m.get("xmm0")).toBe(0xa000n);
    expect(m.state.get32(slot("mxcsr"))).toBe(0x9fc0);
  });

  it("refuse bits that MXCSR does not have", () => {
    const m = long();
    setQuad(m, 24, 0x1_0000n);
    expect(faultOf(m, () => m.run((a) => a.fxrstor(area)))).toEqual([GP, 0]);
  });

  it("load ES and B as the flags and masks have them", () => {
    const m = long();
    // Zero divide unmasked and flagged, ES clear; then the other way round.
    setQuad(m, 0, 0x0004_037bn);
    m.run((a) => a.fxrstor(area));
    expect(m.state.view.getUint16(slot("fsw"), true)).toBe(0x8084);
    setQuad(m, 0, 0x8084_037fn);
    m.run((a) => a.fxrstor(area));
    expect(m.state.view.getUint16(slot("fsw"), true)).toBe(4);
  });
});

describe("XSAVE and XRSTOR", () => {
  it("raise #UD without CR4.OSXSAVE, then #NM with TS, then #GP(0) off a boundary of 64 bytes", () => {
    const m = long();
    m.set("rbx", AREA + 16n);
    m.set("cr0", m.get("cr0") | CR0.TS);
    m.set("cr4", m.get("cr4") & ~CR4.OSXSAVE);
    const fault = (): unknown[] => [
      faultOf(m, () => m.run((a) => a.xsave(area))),
      faultOf(m, () => m.run((a) => a.xsaveopt(area))),
      faultOf(m, () => m.run((a) => a.xsavec(area))),
      faultOf(m, () => m.run((a) => a.xrstor(area))),
    ];
    expect(fault()).toEqual(Array(4).fill([UD, undefined]));
    m.set("cr4", m.get("cr4") | CR4.OSXSAVE);
    expect(fault()).toEqual(Array(4).fill([NM, undefined]));
    m.set("cr0", (m.get("cr0") & ~CR0.TS) | CR0.EM);
    expect(fault()).toEqual(Array(4).fill([GP, 0]));
    m.set("rbx", AREA);
    expect(m.run((a) => a.xsave(area))).toBeGreaterThan(0n);
  });

  it("save the components asked for, keep the other bits of XSTATE_BV, and write no other byte of the header", () => {
    const m = long();
    setQuad(m, 512, 0xf0n);
    setQuad(m, 520, 0x99n);
    m.set("rax", 2n);
    m.run((a) => a.xsave(area));
    expect([quad(m, 512), quad(m, 520)]).toEqual([0xf2n, 0x99n]);
    expect(quad(m, 160)).toBe(0xa000n);
    expect(quad(m, 24)).toBe(0xffff_0000_9fc0n);
    expect([quad(m, 0), quad(m, 32)]).toEqual([0n, 0n]);
  });

  it("save by XCR0 alone", () => {
    const m = long();
    m.set("xcr0", 1n);
    m.run((a) => a.xsave64(area));
    expect([quad(m, 512), quad(m, 160), quad(m, 24)]).toEqual([1n, 0n, 0n]);
    expect(quad(m, 32)).toBe(0x8000_0000_0000_0003n);
  });

  it("leave a component in its initial configuration out with XSAVEOPT, and clear its bit", () => {
    const m = long();
    for (const n of XMM_NUMBERS) for (const half of [0, 8]) m.state.set64(slot(`xmm${n}`) + half, 0n);
    setQuad(m, 160, 0x1234n);
    setQuad(m, 512, 2n);
    m.run((a) => a.xsaveopt(area));
    expect([quad(m, 512), quad(m, 160)]).toEqual([1n, 0x1234n]);
    // XSAVE writes it all the same.
    m.run((a) => a.xsave(area));
    expect([quad(m, 512), quad(m, 160)]).toEqual([1n, 0n]);
    // XMM8 counts in 64-bit mode alone.
    m.set("xmm8", 1n);
    m.run((a) => a.xsave(area));
    expect(quad(m, 512)).toBe(3n);
  });

  it("count MXCSR as SSE state with XSAVEC, which writes XCOMP_BV", () => {
    const m = long();
    for (const n of XMM_NUMBERS) for (const half of [0, 8]) m.state.set64(slot(`xmm${n}`) + half, 0n);
    m.run((a) => a.xsavec(area));
    expect([quad(m, 512), quad(m, 520)]).toEqual([3n, (1n << 63n) | 3n]);
    m.state.set32(slot("mxcsr"), 0x1f80);
    m.run((a) => a.xsavec(area));
    expect([quad(m, 512), quad(m, 520)]).toEqual([1n, (1n << 63n) | 3n]);
  });

  it("restore what XSAVE and XSAVEC saved", () => {
    for (const save of ["xsave64", "xsavec64"] as const) {
      const m = long();
      const before = registers(m);
      m.run((a) => a[save](area));
      clear(m);
      m.run((a) => a.xrstor64(area));
      expect(registers(m)).toEqual(before);
      expect(m.state.get32(slot("mxcsr"))).toBe(0x9fc0);
    }
  });

  it("initialize what XSTATE_BV lacks; MXCSR comes from the area even then, but not in the compacted format", () => {
    const m = long();
    setQuad(m, 24, 0x1fa0n);
    m.run((a) => a.xrstor(area));
    expect([m.get("fcw") & 0xffffn, m.get("xmm3"), m.get("st3")]).toEqual([0x37fn, 0n, 0n]);
    expect(m.state.get32(slot("mxcsr"))).toBe(0x1fa0);
    setQuad(m, 520, (1n << 63n) | 3n);
    m.run((a) => a.xrstor(area));
    expect(m.state.get32(slot("mxcsr"))).toBe(0x1f80);
  });

  it("refuse a header that is not theirs", () => {
    const refused = (offset: number, value: bigint, compacted = false): void => {
      const m = long();
      if (compacted) setQuad(m, 520, (1n << 63n) | 3n);
      setQuad(m, offset, value);
      expect(faultOf(m, () => m.run((a) => a.xrstor(area)))).toEqual([GP, 0]);
    };
    refused(512, 4n);
    refused(520, 1n);
    refused(528, 1n);
    refused(24, 0x10000n);
    refused(520, (1n << 63n) | 7n);
    refused(568, 1n, true);
    const m = long();
    setQuad(m, 520, (1n << 63n) | 1n);
    setQuad(m, 512, 2n);
    expect(faultOf(m, () => m.run((a) => a.xrstor(area)))).toEqual([GP, 0]);
    // Of the standard form the rest of the header is not looked at.
    setQuad(m, 512, 0n);
    setQuad(m, 520, 0n);
    setQuad(m, 536, 1n);
    m.run((a) => a.xrstor(area));
  });
});

describe("XGETBV", () => {
  it("shows by index 1 the components in use", () => {
    const m = long();
    m.set("rcx", 1n);
    m.run((a) => a.xgetbv());
    expect(m.get("rax")).toBe(3n);
    m.set("xcr0", 1n);
    m.run((a) => a.xgetbv());
    expect(m.get("rax")).toBe(1n);
  });
});
