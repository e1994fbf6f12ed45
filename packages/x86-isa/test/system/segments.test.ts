import { describe, expect, it } from "vitest";
import { fword, mem, reg, slot, word } from "../../src/index.js";
import {
  descriptor,
  faultOf,
  GDT,
  LDT,
  longMachine,
  protectedMachine,
  realMachine,
  SEL,
  STACK,
  TSS,
  virtual8086Machine,
} from "./test-environment.js";

const { ax, eax, rax, bx, ebx, cx, ds, es, fs, gs, ss } = reg;
const GP = 13;

describe("MOV Sreg in protected mode", () => {
  const load = (selector: number, to = ds, level = 0): [number, number | undefined] => {
    const m = protectedMachine(level);
    m.state.setGpr(0, BigInt(selector));
    return faultOf(m, () => m.run((a) => a.mov(to, ax)));
  };
  it("refuses a selector outside the GDT", () => expect(load(0x1000)).toEqual([GP, 0x1000]));
  it("refuses an LDT selector without an LDT", () => expect(load(0x0c)).toEqual([GP, 0x0c]));
  it("refuses a system segment", () => expect(load(SEL.TSS)).toEqual([GP, SEL.TSS]));
  it("refuses data of more privilege", () => expect(load(SEL.DATA0, ds, 3)).toEqual([GP, SEL.DATA0]));
  it("refuses an RPL weaker than the DPL", () => expect(load(SEL.DATA0 | 3)).toEqual([GP, SEL.DATA0]));
  it("raises #NP for a segment that is not present", () =>
    expect(load(SEL.NOT_PRESENT)).toEqual([11, SEL.NOT_PRESENT]));
  it("refuses a null SS", () => expect(load(0, ss)).toEqual([GP, 0]));
  it("refuses a read-only SS", () => expect(load(SEL.READONLY, ss)).toEqual([GP, SEL.READONLY]));
  it("refuses an SS with another RPL than CPL", () => expect(load(SEL.DATA0 | 1, ss)).toEqual([GP, SEL.DATA0]));
  it("raises #SS for an SS that is not present", () => {
    const m = protectedMachine();
    m.gdt(15, descriptor(0x12));
    m.state.setGpr(0, 0x78n);
    expect(faultOf(m, () => m.run((a) => a.mov(ss, ax)))).toEqual([12, 0x78]);
  });
  it("makes a data segment unusable with a null selector", () => {
    const m = protectedMachine();
    m.state.setGpr(0, 3n);
    m.run((a) => a.mov(es, ax));
    expect(m.state.segment("es")).toEqual({ selector: 3, base: 0n, limit: 0, rights: 0x10000 });
  });
  it("loads base, limit with granularity and rights, and sets the accessed bit", () => {
    const m = protectedMachine();
    m.gdt(15, descriptor(0xf2, 0xc, 0x12345678, 0xabcde));
    m.state.setGpr(0, 0x7bn);
    m.run((a) => a.mov(fs, ax));
    expect(m.state.segment("fs")).toEqual({ selector: 0x7b, base: 0x12345678n, limit: 0xabcdefff, rights: 0xc0f3 });
    expect(m.load(GDT + 0x7dn, 1)).toBe(0xf3n);
  });
  it("reads from the LDT", () => {
    const m = protectedMachine();
    m.state.setSegment("ldtr", { selector: SEL.LDT, base: LDT, limit: 0xff, rights: 0x82 });
    m.store(LDT + 8n, 8, descriptor(0x92, 0x4, 0x100, 0xfff));
    m.state.setGpr(0, 0x0cn);
    m.run((a) => a.mov(gs, ax));
    expect(m.state.segment("gs")).toMatchObject({ base: 0x100n, limit: 0xfff, rights: 0x4093 });
  });
  it("blocks interrupts for one instruction after SS", () => {
    const m = protectedMachine();
    m.state.setGpr(0, BigInt(SEL.DATA0));
    m.run((a) => a.mov(ss, ax));
    expect(m.state.get32(slot("interruptibility"))).toBe(2);
  });
  it("loads a null SS in 64-bit mode below CPL 3, keeping the privilege level", () => {
    const m = longMachine();
    m.state.setGpr(0, 0n);
    m.run((a) => a.mov(ss, ax));
    expect(m.state.segment("ss").rights).toBe(0x10000);
    const user = longMachine(3);
    user.state.setGpr(0, 3n);
    expect(faultOf(user, () => user.run((a) => a.mov(ss, ax)))).toEqual([GP, 0]);
  });
  it("leaves limit and rights alone in real mode", () => {
    const m = realMachine();
    m.state.setSegment("es", { selector: 0, base: 0n, limit: 0xffffffff, rights: 0xc093 });
    m.state.setGpr(0, 0xf000n);
    m.run((a) => a.mov(es, ax));
    expect(m.state.segment("es")).toEqual({ selector: 0xf000, base: 0xf0000n, limit: 0xffffffff, rights: 0xc093 });
  });
  it("gives DPL 3 and 64 KiB in virtual-8086 mode", () => {
    const m = virtual8086Machine();
    m.state.setGpr(0, 0x1234n);
    m.run((a) => a.mov(es, ax));
    expect(m.state.segment("es")).toEqual({ selector: 0x1234, base: 0x12340n, limit: 0xffff, rights: 0xf3 });
  });
});

describe("POP Sreg and far pointer loads", () => {
  it("leave the stack pointer alone when the load faults", () => {
    const m = protectedMachine();
    m.store(STACK, 4, 0x1000n);
    expect(faultOf(m, () => m.run((a) => a.pop(ds)))).toEqual([GP, 0x1000]);
  });
  it("pop the operand size but load 16 bits", () => {
    const m = protectedMachine();
    m.store(STACK, 4, 0xdead0000n | BigInt(SEL.DATA3));
    m.run((a) => a.pop(es));
    expect(m.state.segment("es").selector).toBe(SEL.DATA3);
    expect(m.get("rsp")).toBe(STACK + 4n);
  });
  it("load the offset only when the segment was loaded", () => {
    const m = protectedMachine();
    m.store(0x5000n, 4, 0x11223344n);
    m.store(0x5004n, 2, 0x1000n);
    m.state.setGpr(3, 0x5000n);
    expect(faultOf(m, () => m.run((a) => a.les(eax, fword(ebx))))).toEqual([GP, 0x1000]);
    m.store(0x5004n, 2, BigInt(SEL.DATA3));
    m.run((a) => a.les(eax, fword(ebx)));
    expect(m.get("rax")).toBe(0x11223344n);
    expect(m.state.segment("es").selector).toBe(SEL.DATA3);
  });
});

describe("segment limits outside 64-bit mode", () => {
  const at = (rights: number, limit: number, write: boolean, offset: bigint): (() => unknown) => {
    const m = protectedMachine();
    m.state.setSegment("ds", { selector: 8, base: 0x1000n, limit, rights });
    m.state.setGpr(3, offset);
    return () => faultOf(m, () => m.run((a) => (write ? a.sidt(mem(ebx)) : a.lidt(mem(ebx)))));
  };
  it("raise #GP past the limit, for the last byte already", () => {
    expect(at(0x93, 0x104, false, 0x100n)()).toEqual([GP, 0]);
  });
  it("raise #GP for writes to code and read-only data, and for reads of execute-only code", () => {
    expect(at(0x9b, 0xffff, true, 0n)()).toEqual([GP, 0]);
    expect(at(0x91, 0xffff, true, 0n)()).toEqual([GP, 0]);
    expect(at(0x99, 0xffff, false, 0n)()).toEqual([GP, 0]);
    expect(at(0x10000, 0xffff, false, 0n)()).toEqual([GP, 0]);
  });
  it("are lower bounds of expand-down segments", () => {
    expect(at(0x97, 0xfff, false, 0x0ffan)()).toEqual([GP, 0]);
    expect(at(0x97, 0xfff, false, 0xfffbn)()).toEqual([GP, 0]);
  });
});

describe("LGDT, LIDT, SGDT, SIDT", () => {
  it("refuse LGDT above CPL 0, and SGDT there with UMIP", () => {
    const m = protectedMachine(3);
    expect(faultOf(m, () => m.run((a) => a.lgdt(mem(ebx))))).toEqual([GP, 0]);
    m.set("cr4", 1n << 11n);
    expect(faultOf(m, () => m.run((a) => a.sgdt(mem(ebx))))).toEqual([GP, 0]);
  });
  it("refuse a base that is not canonical", () => {
    const m = longMachine();
    m.store(0x5002n, 8, 0x8000_0000_0000n);
    m.state.setGpr(3, 0x5000n);
    expect(faultOf(m, () => m.run((a) => a.lgdt(mem(reg.rbx))))).toEqual([GP, 0]);
  });
  it("load 24 bits of the base with a 16-bit operand", () => {
    const m = realMachine();
    m.store(0x15000n, 2, 0x17n);
    m.store(0x15002n, 4, 0xff123456n);
    m.run((a) => a.lgdt(mem(0x5000)));
    expect(m.get("gdtr.base")).toBe(0x123456n);
    m.run((a) => a.operandSize(32).lgdt(mem(0x5000)));
    expect(m.get("gdtr.base")).toBe(0xff123456n);
    expect(m.state.get32(slot("gdtr.limit"))).toBe(0x17);
  });
  it("store 10 bytes in 64-bit mode", () => {
    const m = longMachine();
    m.set("idtr.base", 0xffff_8000_1234_5678n);
    m.state.setGpr(3, 0x5000n);
    m.run((a) => a.sidt(mem(reg.rbx)));
    expect(m.load(0x5000n, 2)).toBe(0xfffn);
    expect(m.load(0x5002n, 8)).toBe(0xffff_8000_1234_5678n);
  });
});

describe("LLDT and LTR", () => {
  it("are no instructions of real and virtual-8086 mode", () => {
    for (const m of [realMachine(), virtual8086Machine(3)]) {
      // The assembler takes the form; the handler refuses it.
      expect(faultOf(m, () => m.run((a) => a.lldt(ax)))).toEqual([6, undefined]);
    }
  });
  it("refuse CPL 3, wrong types, the LDT, null and absent descriptors", () => {
    const user = protectedMachine(3);
    expect(faultOf(user, () => user.run((a) => a.ltr(ax)))).toEqual([GP, 0]);
    const m = protectedMachine();
    const ltr = (selector: number): [number, number | undefined] => {
      m.state.setGpr(0, BigInt(selector));
      return faultOf(m, () => m.run((a) => a.ltr(ax)));
    };
    expect(ltr(0)).toEqual([GP, 0]);
    expect(ltr(SEL.TSS)).toEqual([GP, SEL.TSS]); // busy already
    expect(ltr(SEL.DATA0)).toEqual([GP, SEL.DATA0]);
    expect(ltr(0x2c)).toEqual([GP, 0x2c]);
    m.gdt(5, descriptor(0x09, 0, Number(TSS), 0x67));
    expect(ltr(SEL.TSS)).toEqual([11, SEL.TSS]);
  });
  it("mark the TSS busy", () => {
    const m = protectedMachine();
    m.gdt(5, descriptor(0x89, 0, 0x3000, 0x67));
    m.state.setGpr(0, BigInt(SEL.TSS));
    m.run((a) => a.ltr(ax));
    expect(m.load(GDT + 0x2dn, 1)).toBe(0x8bn);
    expect(m.state.segment("tr")).toEqual({ selector: SEL.TSS, base: 0x3000n, limit: 0x67, rights: 0x8b });
  });
  it("take 16-byte descriptors in IA-32e mode, and no 16-bit TSS", () => {
    const m = longMachine();
    m.gdt(5, descriptor(0x89, 0, 0x3000, 0x67), 0xffff8000n);
    m.state.setGpr(0, BigInt(SEL.TSS));
    m.run((a) => a.ltr(ax));
    expect(m.state.segment("tr").base).toBe(0xffff_8000_0000_3000n);
    m.gdt(5, descriptor(0x81, 0, 0x3000, 0x67), 0n);
    expect(faultOf(m, () => m.run((a) => a.ltr(ax)))).toEqual([GP, SEL.TSS]);
    m.gdt(5, descriptor(0x89, 0, 0x3000, 0x67), 0x8000n);
    expect(faultOf(m, () => m.run((a) => a.ltr(ax)))).toEqual([GP, SEL.TSS]);
  });
  it("make LDTR unusable with a null selector", () => {
    const m = protectedMachine();
    m.state.setGpr(0, 0n);
    m.run((a) => a.lldt(ax));
    expect(m.state.segment("ldtr").rights).toBe(0x10000);
  });
});

describe("LAR, LSL, VERR, VERW, ARPL", () => {
  const zf = (m: { state: { rflags: bigint } }): boolean => (m.state.rflags & 0x40n) !== 0n;
  it("clear ZF and keep the destination for what is not visible", () => {
    const m = protectedMachine(3);
    m.state.setGpr(3, BigInt(SEL.DATA0));
    m.state.setGpr(0, 0x1234n);
    m.state.rflags |= 0x40n;
    m.run((a) => a.lar(eax, ebx));
    expect([zf(m), m.get("rax")]).toEqual([false, 0x1234n]);
    m.run((a) => a.lsl(eax, ebx));
    expect(zf(m)).toBe(false);
    m.state.setGpr(3, 0n);
    m.run((a) => a.verr(bx));
    expect(zf(m)).toBe(false);
  });
  it("give rights and limit", () => {
    const m = protectedMachine(3);
    m.state.setGpr(3, BigInt(SEL.DATA3));
    m.run((a) => a.lar(eax, ebx));
    expect([zf(m), m.get("rax")]).toEqual([true, 0xc0f200n]);
    m.run((a) => a.lsl(eax, ebx));
    expect(m.get("rax")).toBe(0xffffffffn);
    m.run((a) => a.verw(bx));
    expect(zf(m)).toBe(true);
    m.state.setGpr(3, BigInt(SEL.CODE3));
    m.run((a) => a.verw(bx));
    expect(zf(m)).toBe(false);
    m.run((a) => a.verr(bx));
    expect(zf(m)).toBe(true);
  });
  it("do not know call gates as segments with a limit", () => {
    const m = protectedMachine();
    m.gdt(15, 0x00008c0000080000n);
    m.state.setGpr(3, 0x78n);
    m.run((a) => a.lar(eax, ebx));
    expect(zf(m)).toBe(true);
    m.run((a) => a.lsl(eax, ebx));
    expect(zf(m)).toBe(false);
  });
  it("raise an RPL only", () => {
    const m = protectedMachine();
    m.state.setGpr(0, 0x10n);
    m.state.setGpr(1, 3n);
    m.run((a) => a.arpl(ax, cx));
    expect([zf(m), m.get("rax")]).toEqual([true, 0x13n]);
    m.state.setGpr(1, 1n);
    m.run((a) => a.arpl(ax, cx));
    expect([zf(m), m.get("rax")]).toEqual([false, 0x13n]);
  });
});

describe("SLDT, STR, SMSW", () => {
  it("zero-extend to a register and store 16 bits to memory", () => {
    const m = longMachine();
    m.state.setGpr(0, -1n & 0xffff_ffff_ffff_ffffn);
    m.run((a) => a.str(rax));
    expect(m.get("rax")).toBe(BigInt(SEL.TSS));
    m.store(0x5000n, 8, 0xffff_ffff_ffff_ffffn);
    m.state.setGpr(3, 0x5000n);
    m.run((a) => a.str(word(reg.rbx)));
    expect(m.load(0x5000n, 8)).toBe(0xffff_ffff_ffff_0028n);
    m.run((a) => a.smsw(eax));
    expect(m.get("rax")).toBe(0x80000031n);
  });
  it("are refused with UMIP above CPL 0", () => {
    const m = protectedMachine(3);
    m.set("cr4", 1n << 11n);
    for (const write of [(a) => a.str(ax), (a) => a.sldt(ax), (a) => a.smsw(ax)] as Parameters<typeof m.run>[0][]) {
      expect(faultOf(m, () => m.run(write))).toEqual([GP, 0]);
    }
  });
});
