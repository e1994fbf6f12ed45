import { describe, expect, it } from "vitest";
import { far, fword, reg, tbyte, type Assembler } from "../../src/index.js";
import {
  CODE,
  descriptor,
  faultOf,
  INNER_STACK,
  longMachine,
  protectedMachine,
  realMachine,
  SEL,
  STACK,
  TSS,
  virtual8086Machine,
  type TestEnvironment,
} from "./test-environment.js";

const { rbx } = reg;
const GP = 13;

/** A call gate: type 12 (32-bit) or 4 (16-bit). */
const callGate = (selector: number, offset: bigint, dpl: number, parameters = 0, type = 12, present = true): bigint =>
  (offset & 0xffffn) |
  (BigInt(selector) << 16n) |
  (BigInt(parameters) << 32n) |
  (BigInt((present ? 0x80 : 0) | (dpl << 5) | type) << 40n) |
  (((offset >> 16n) & 0xffffn) << 48n);

describe("far JMP without a gate", () => {
  const jump = (selector: number, level = 0, m = protectedMachine(level)): [number, number | undefined] =>
    faultOf(m, () => m.run((a) => a.jmp(far(selector, 0x5000))));
  it("refuses null, absent, data and unusable selectors", () => {
    expect(jump(0)).toEqual([GP, 0]);
    expect(jump(0x1000)).toEqual([GP, 0x1000]);
    expect(jump(SEL.DATA0)).toEqual([GP, SEL.DATA0]);
    expect(jump(SEL.LDT)).toEqual([GP, SEL.LDT]);
  });
  it("refuses another privilege level, and an RPL above CPL", () => {
    expect(jump(SEL.CODE0, 3)).toEqual([GP, SEL.CODE0]);
    expect(jump(SEL.CODE3)).toEqual([GP, 0x18]);
    expect(jump(SEL.CODE0 | 3)).toEqual([GP, SEL.CODE0]);
  });
  it("raises #NP for code that is not present, and #GP(0) past the limit", () => {
    const m = protectedMachine();
    m.gdt(15, descriptor(0x1a), descriptor(0x9a, 4, 0, 0xfff));
    expect(jump(0x78, 0, m)).toEqual([11, 0x78]);
    expect(jump(0x80, 0, m)).toEqual([GP, 0]);
  });
  it("keeps CPL in a conforming segment of more privilege", () => {
    const m = protectedMachine(3);
    expect(m.run((a) => a.jmp(far(SEL.CONFORMING, 0x5000)))).toBe(0x5000n);
    expect(m.state.segment("cs")).toMatchObject({ selector: SEL.CONFORMING | 3, rights: 0xc09f });
  });
  it("refuses L and D together in IA-32e mode, and a target that is not canonical", () => {
    const m = longMachine();
    m.gdt(15, descriptor(0x9a, 0xe));
    m.store(0x5000n, 8, 0x6000n);
    m.store(0x5008n, 2, 0x78n);
    m.state.setGpr(3, 0x5000n);
    expect(faultOf(m, () => m.run((a) => a.jmp(tbyte(rbx))))).toEqual([GP, 0x78]);
    m.store(0x5000n, 8, 0x8000_0000_0000n);
    m.store(0x5008n, 2, BigInt(SEL.CODE0));
    expect(faultOf(m, () => m.run((a) => a.jmp(tbyte(rbx))))).toEqual([GP, 0]);
  });
  it("goes from 64-bit to compatibility mode", () => {
    const m = longMachine();
    m.gdt(15, descriptor(0x9a));
    m.store(0x5000n, 4, 0x6000n);
    m.store(0x5004n, 2, 0x78n);
    m.state.setGpr(3, 0x5000n);
    expect(m.run((a) => a.jmp(fword(rbx)))).toBe(0x6000n);
    expect(m.state.segment("cs").rights).toBe(0xc09b);
  });
  it("sets base and instruction pointer in real mode, within the limit", () => {
    const m = realMachine();
    expect(m.run((a) => a.jmp(far(0xf000, 0xfff0)))).toBe(0xfff0n);
    expect(m.state.segment("cs")).toMatchObject({ selector: 0xf000, base: 0xf0000n });
    expect(faultOf(m, () => m.run((a) => a.jmp(far(0xf000, 0x10000, 32))))).toEqual([GP, 0]);
  });
});

describe("far CALL and RET", () => {
  it("push and pop CS:EIP at the same privilege", () => {
    const m = protectedMachine();
    expect(m.run((a) => a.call(far(SEL.CODE0, 0x5000)))).toBe(0x5000n);
    expect(m.get("rsp")).toBe(STACK - 8n);
    expect(m.load(STACK - 8n, 8)).toBe((BigInt(SEL.CODE0) << 32n) | (CODE + 7n));
    m.set("rip", 0x5000n);
    expect(m.run((a) => a.retf(4))).toBe(CODE + 7n);
    expect(m.get("rsp")).toBe(STACK + 4n);
  });
  it("change nothing when the push faults", () => {
    const m = protectedMachine();
    m.missing.add((STACK - 1n) >> 12n);
    expect(faultOf(m, () => m.run((a) => a.call(far(SEL.CODE0, 0x5000))))).toEqual([14, 2]);
  });
  it("refuse a gate below CPL or RPL, not present, or with a bad target", () => {
    const m = protectedMachine(3);
    const call = (gate: bigint, selector = 0x7b): [number, number | undefined] => {
      m.gdt(15, gate);
      return faultOf(m, () => m.run((a) => a.call(far(selector, 0))));
    };
    expect(call(callGate(SEL.CODE0, 0x5000n, 2))).toEqual([GP, 0x78]);
    expect(call(callGate(SEL.CODE0, 0x5000n, 3, 0, 12, false))).toEqual([11, 0x78]);
    expect(call(callGate(0, 0x5000n, 3))).toEqual([GP, 0]);
    expect(call(callGate(SEL.DATA0, 0x5000n, 3))).toEqual([GP, SEL.DATA0]);
    m.gdt(15, callGate(SEL.CODE0, 0x5000n, 3));
    // JMP cannot raise the privilege.
    expect(faultOf(m, () => m.run((a) => a.jmp(far(0x7b, 0))))).toEqual([GP, SEL.CODE0]);
  });
  it("go through a gate to more privilege with parameters, and back", () => {
    const m = protectedMachine(3);
    m.gdt(15, callGate(SEL.CODE0, 0x5000n, 3, 2));
    m.store(STACK, 4, 0x11n);
    m.store(STACK + 4n, 4, 0x22n);
    expect(m.run((a) => a.call(far(0x7b, 0xdead)))).toBe(0x5000n);
    const frame = Array.from({ length: 6 }, (_, n) => m.load(INNER_STACK - 24n + BigInt(n * 4), 4));
    expect(frame).toEqual([CODE + 7n, BigInt(SEL.CODE3), 0x11n, 0x22n, STACK, BigInt(SEL.DATA3)]);
    expect(m.state.segment("ss").selector).toBe(SEL.DATA0);
    m.state.setSegment("es", { selector: SEL.DATA0, base: 0n, limit: 0xffffffff, rights: 0xc093 });
    m.set("rip", 0x5000n);
    expect(m.run((a) => a.retf(8))).toBe(CODE + 7n);
    expect(m.get("rsp")).toBe(STACK + 8n);
    expect(m.state.segment("ss")).toMatchObject({ selector: SEL.DATA3, rights: 0xc0f3 });
    // What the outer level may not use is dropped.
    expect(m.state.segment("es")).toMatchObject({ selector: 0, rights: 0x1c093 });
    expect(m.state.segment("ds").selector).toBe(SEL.DATA3);
  });
  it("go through a 64-bit gate with a null SS and 8-byte pushes", () => {
    const m = longMachine(3);
    m.gdt(15, callGate(SEL.CODE0, 0x5000n, 3), 0xffff8000n);
    m.store(0x6000n, 4, 0n);
    m.store(0x6004n, 2, 0x7bn);
    m.state.setGpr(3, 0x6000n);
    expect(m.run((a) => a.call(fword(rbx)))).toBe(0xffff_8000_0000_5000n);
    const frame = Array.from({ length: 4 }, (_, n) => m.load(INNER_STACK - 32n + BigInt(n * 8), 8));
    expect(frame).toEqual([CODE + 2n, BigInt(SEL.CODE64_3), STACK, BigInt(SEL.DATA3)]);
    expect(m.state.segment("ss")).toMatchObject({ selector: 0, rights: 0x10000 });
  });
  it("refuse a gate to 32-bit code in IA-32e mode", () => {
    const m = longMachine();
    m.gdt(15, callGate(SEL.CODE3 & ~3, 0x5000n, 0), 0n, descriptor(0x9a));
    m.gdt(15, callGate(0x88, 0x5000n, 0), 0n);
    m.store(0x6004n, 2, 0x78n);
    m.state.setGpr(3, 0x6000n);
    expect(faultOf(m, () => m.run((a) => a.call(fword(rbx))))).toEqual([GP, 0x88]);
  });
  it("ask for a task switch through a task gate or a TSS", () => {
    const m = protectedMachine();
    m.gdt(15, descriptor(0x89, 0, 0x7000, 0x67));
    m.run((a) => a.call(far(0x78, 0)));
    m.run((a) => a.jmp(far(0x78, 0)));
    expect(m.log).toEqual(["task 78 call", "task 78 jmp"]);
  });
  it("refuse to return to more privilege, to null and to data", () => {
    const m = protectedMachine(3);
    const back = (selector: number): [number, number | undefined] => {
      m.store(STACK, 8, 0x5000n | (BigInt(selector) << 32n));
      return faultOf(m, () => m.run((a) => a.retf()));
    };
    expect(back(SEL.CODE0)).toEqual([GP, SEL.CODE0]);
    expect(back(0)).toEqual([GP, 0]);
    expect(back(SEL.DATA3)).toEqual([GP, SEL.DATA3 & ~3]);
  });
});

describe("IRET", () => {
  const frame32 = (m: TestEnvironment, ...values: readonly number[]): void =>
    values.forEach((value, n) => m.store(STACK + BigInt(n * 4), 4, BigInt(value)));
  const frame64 = (m: TestEnvironment, ...values: readonly bigint[]): void =>
    values.forEach((value, n) => m.store(STACK + BigInt(n * 8), 8, value));

  it("refuses more privilege, and an SS that does not fit", () => {
    const user = protectedMachine(3);
    frame32(user, 0x5000, SEL.CODE0, 2);
    expect(faultOf(user, () => user.run((a) => a.iretd()))).toEqual([GP, SEL.CODE0]);
    const m = protectedMachine();
    frame32(m, 0x5000, SEL.CODE3, 2, 0x7000, SEL.DATA0);
    expect(faultOf(m, () => m.run((a) => a.iretd()))).toEqual([GP, SEL.DATA0]);
    frame32(m, 0x5000, SEL.CODE3, 2, 0x7000, 0);
    expect(faultOf(m, () => m.run((a) => a.iretd()))).toEqual([GP, 0]);
  });
  it("refuses a target that is not canonical, and a null SS for CPL 3", () => {
    const m = longMachine();
    frame64(m, 0x8000_0000_0000n, BigInt(SEL.CODE0), 2n, 0x7000n, BigInt(SEL.DATA0));
    expect(faultOf(m, () => m.run((a) => a.iretq()))).toEqual([GP, 0]);
    frame64(m, 0x5000n, BigInt(SEL.CODE64_3), 2n, 0x7000n, 3n);
    expect(faultOf(m, () => m.run((a) => a.iretq()))).toEqual([GP, 0]);
  });
  it("to an outer level loads SS:ESP and drops inner segments", () => {
    const m = protectedMachine();
    frame32(m, 0x5000, SEL.CODE3, 0x3202, 0x7000, SEL.DATA3);
    expect(m.run((a) => a.iretd())).toBe(0x5000n);
    expect(m.get("rsp")).toBe(0x7000n);
    expect(m.state.rflags).toBe(0x3202n);
    expect(m.state.segment("ds")).toMatchObject({ selector: 0, rights: 0x1c093 });
    expect(m.log).toEqual(["iret begin", "iret end"]);
  });
  it("at CPL 3 changes neither IOPL nor IF", () => {
    const m = protectedMachine(3);
    frame32(m, 0x5000, SEL.CODE3, 0x3ad7);
    m.run((a) => a.iretd());
    expect(m.state.rflags).toBe(0x8d7n);
    m.set("rsp", STACK);
    m.state.rflags = 0x3002n;
    m.run((a) => a.iretd());
    expect(m.state.rflags).toBe(0x3ad7n);
  });
  it("pops SS:RSP in 64-bit mode at the same privilege too, also a null SS", () => {
    const m = longMachine();
    frame64(m, 0x5000n, BigInt(SEL.CODE0), 0x10202n, 0x7000n, 0n);
    expect(m.run((a) => a.iretq())).toBe(0x5000n);
    expect(m.get("rsp")).toBe(0x7000n);
    expect(m.state.segment("ss").rights).toBe(0x10000);
    expect(m.state.rflags).toBe(0x10202n);
  });
  it("to CPL 3 makes GS null but keeps its base", () => {
    const m = longMachine();
    m.state.setSegment("gs", { ...m.state.segment("gs"), base: 0xffff_8000_0000_0000n });
    frame64(m, 0x5000n, BigInt(SEL.CODE64_3), 2n, 0x7000n, BigInt(SEL.DATA3));
    m.run((a) => a.iretq());
    expect(m.state.segment("gs")).toMatchObject({ selector: 0, base: 0xffff_8000_0000_0000n, rights: 0x1c093 });
  });
  it("goes to compatibility mode, with a 32-bit stack pointer", () => {
    const m = longMachine();
    frame64(m, 0x5000n, BigInt(SEL.CODE3), 2n, 0x1_0000_7000n, BigInt(SEL.DATA3));
    expect(m.run((a) => a.iretq())).toBe(0x5000n);
    expect(m.state.segment("cs").rights).toBe(0xc0fb);
    expect(m.get("rsp")).toBe(0x7000n);
  });
  it("goes to virtual-8086 mode from CPL 0", () => {
    const m = protectedMachine();
    frame32(m, 0x100, 0x1234, 0x23202, 0xfffe, 0x2000, 0x3000, 0x4000, 0x5000, 0x6000);
    expect(m.run((a) => a.iretd())).toBe(0x100n);
    expect(m.state.rflags).toBe(0x23202n);
    expect(m.state.segment("cs")).toEqual({ selector: 0x1234, base: 0x12340n, limit: 0xffff, rights: 0xf3 });
    const names = ["ss", "es", "ds", "fs", "gs"] as const;
    expect(names.map((name) => m.state.segment(name).selector)).toEqual([0x2000, 0x3000, 0x4000, 0x5000, 0x6000]);
    expect(m.get("rsp")).toBe(0xfffen);
  });
  it("with NT returns to the linked task, which IA-32e mode has not", () => {
    const m = protectedMachine();
    m.state.rflags = 0x4002n;
    m.store(TSS, 2, 0x78n);
    m.gdt(15, descriptor(0x89, 0, 0x7000, 0x67));
    expect(faultOf(m, () => m.run((a) => a.iretd()))).toEqual([10, 0x78]);
    m.gdt(15, descriptor(0x8b, 0, 0x7000, 0x67));
    m.run((a) => a.iretd());
    expect(m.log[0]).toBe("task 78 iret");
    const long = longMachine();
    long.state.rflags = 0x4002n;
    expect(faultOf(long, () => long.run((a) => a.iretq()))).toEqual([GP, 0]);
  });
  it("pops three words in real mode", () => {
    const m = realMachine();
    m.store(0x18000n, 8, 0x0302_f000_1234n);
    expect(m.run((a) => a.iret())).toBe(0x1234n);
    expect(m.state.rflags).toBe(0x302n);
    expect(m.get("rsp")).toBe(0x8006n);
  });
  it("is refused in virtual-8086 mode below IOPL 3, but for the 16-bit form with VME", () => {
    const m = virtual8086Machine(0);
    expect(faultOf(m, () => m.run((a) => a.iret()))).toEqual([GP, 0]);
    m.set("cr4", 1n);
    m.store(0x18000n, 8, 0x0202_f000_1234n);
    m.run((a) => a.iret());
    // IF of the image became VIF.
    expect(m.state.rflags).toBe(0xa0002n);
    const iretd: (a: Assembler) => Assembler = (a) => a.iretd();
    expect(faultOf(m, () => m.run(iretd))).toEqual([GP, 0]);
  });
});

describe("INT n, INT3, INTO, INT1", () => {
  it("in virtual-8086 mode: INT n is sensitive to IOPL, INT3 is not", () => {
    const m = virtual8086Machine(0);
    m.gate(3, SEL.CODE0, 0x5000n, 14, 3);
    m.gate(0x21, SEL.CODE0, 0x6000n, 14, 3);
    expect(faultOf(m, () => m.run((a) => a.int(0x21)))).toEqual([GP, 0]);
    expect(m.run((a) => a.int3())).toBe(0x5000n);
    const trusted = virtual8086Machine(3);
    trusted.gate(0x21, SEL.CODE0, 0x6000n, 14, 3);
    expect(trusted.run((a) => a.int(0x21))).toBe(0x6000n);
  });
  it("follow the redirection bitmap with VME, through the vector table at 0", () => {
    const m = virtual8086Machine(0);
    m.set("cr4", 1n);
    m.state.rflags |= 0x80000n;
    m.store(TSS + 0x66n, 2, 0x88n);
    m.store(0x84n, 4, 0x2000_0123n);
    expect(m.run((a) => a.int(0x21))).toBe(0x123n);
    expect(m.state.segment("cs").selector).toBe(0x2000);
    // VIF shows as IF in the image, with IOPL 3.
    expect(m.load(0x17ffen, 2)).toBe(0x3202n);
    expect(m.state.rflags & 0x80000n).toBe(0n);
    m.store(TSS + 0x88n - 32n + 4n, 1, 2n);
    expect(faultOf(m, () => m.run((a) => a.int(0x21)))).toEqual([GP, 0]);
  });
  it("clear TF and IF or VIF alone where the bitmap redirects them", () => {
    const changed = (iopl: number): bigint => {
      const m = virtual8086Machine(iopl);
      m.set("cr4", 1n);
      m.store(TSS + 0x66n, 2, 0x88n);
      m.store(0x84n, 4, 0x2000_0123n);
      const before = m.state.rflags | 0xc4300n;
      m.state.rflags = before;
      m.run((a) => a.int(0x21));
      return before & ~m.state.rflags;
    };
    expect(changed(0)).toBe(0x80100n);
    expect(changed(3)).toBe(0x300n);
  });
  it("return after the instruction", () => {
    const m = longMachine(3);
    m.gate(0x80, SEL.CODE0, 0x5000n, 14, 3);
    m.run((a) => a.int(0x80));
    expect(m.load(INNER_STACK - 40n, 8)).toBe(CODE + 2n);
  });
  it("do nothing for INTO without OF", () => {
    const m = protectedMachine();
    m.gate(4, SEL.CODE0, 0x5000n);
    expect(m.run((a) => a.into())).toBe(CODE + 1n);
    m.state.rflags = 0x802n;
    expect(m.run((a) => a.into())).toBe(0x5000n);
  });
});
