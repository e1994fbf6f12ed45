import { describe, expect, it } from "vitest";
import { deliverEvent, escalate, INTR_TYPE, slot, VECTOR, type InterruptEvent } from "../../src/index.js";
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
} from "./test-environment.js";

const event = (vector: number, more: Partial<InterruptEvent> = {}): InterruptEvent => ({
  vector,
  type: INTR_TYPE.HARD_EXCEPTION,
  returnRip: CODE,
  ...more,
});
const software = (vector: number): InterruptEvent => event(vector, { type: INTR_TYPE.SOFT_INTR, returnRip: CODE + 2n });
const HANDLER = 0x12345678n;

describe("IDT entries that cannot be used", () => {
  it("beyond the limit are #GP with the vector, IDT and EXT", () => {
    const m = protectedMachine();
    m.state.set32(slot("idtr.limit"), 13 * 8 + 6);
    expect(faultOf(m, () => deliverEvent(m, event(13, { errorCode: 0 })))).toEqual([13, 13 * 8 + 3]);
    expect(faultOf(m, () => deliverEvent(m, software(0x20)))).toEqual([13, 0x20 * 8 + 2]);
    const long = longMachine();
    long.state.set32(slot("idtr.limit"), 13 * 16 + 14);
    expect(faultOf(long, () => deliverEvent(long, event(13, { errorCode: 0 })))).toEqual([13, 13 * 8 + 3]);
  });
  it("of a wrong type are #GP; 16-bit gates and task gates do not exist in IA-32e mode", () => {
    const m = protectedMachine();
    m.gate(3, SEL.CODE0, HANDLER, 12);
    expect(faultOf(m, () => deliverEvent(m, event(3)))).toEqual([13, 3 * 8 + 3]);
    const long = longMachine();
    for (const type of [5, 6, 7, 12]) {
      long.gate(3, SEL.CODE0, HANDLER, type);
      expect(faultOf(long, () => deliverEvent(long, event(3)))).toEqual([13, 3 * 8 + 3]);
    }
  });
  it("that are not present are #NP", () => {
    const m = protectedMachine();
    m.gate(3, SEL.CODE0, HANDLER, 14, 0, 0, false);
    expect(faultOf(m, () => deliverEvent(m, event(3)))).toEqual([11, 3 * 8 + 3]);
  });
  it("refuse software events below their DPL, but not INT1 and hardware", () => {
    const m = protectedMachine(3);
    m.gate(0x80, SEL.CODE0, HANDLER);
    expect(faultOf(m, () => deliverEvent(m, software(0x80)))).toEqual([13, 0x80 * 8 + 2]);
    m.gate(1, SEL.CODE0, HANDLER);
    deliverEvent(m, event(1, { type: INTR_TYPE.PRIV_SW_EXCEPTION }));
    expect(m.get("nextRip")).toBe(HANDLER);
  });
});

describe("handlers that cannot run", () => {
  const bad = (selector: number, make = protectedMachine): [number, number | undefined] => {
    const m = make();
    m.gate(14, selector, HANDLER);
    return faultOf(m, () => deliverEvent(m, event(14, { errorCode: 2 })));
  };
  it("are #GP for a null, absent, data or less privileged segment", () => {
    expect(bad(0)).toEqual([13, 1]);
    expect(bad(0x1000)).toEqual([13, 0x1001]);
    expect(bad(SEL.DATA0)).toEqual([13, SEL.DATA0 | 1]);
    expect(bad(SEL.CODE3 & ~3)).toEqual([13, 0x19]);
  });
  it("are #GP for 32-bit code in IA-32e mode", () => {
    expect(bad(SEL.CODE3 & ~3, () => longMachine(3))).toEqual([13, 0x19]);
  });
  it("are #GP for an offset that is past the limit or not canonical", () => {
    const m = protectedMachine();
    m.gdt(15, descriptor(0x9a, 4, 0, 0xfff));
    m.gate(14, 0x78, 0x1000n);
    expect(faultOf(m, () => deliverEvent(m, event(14, { errorCode: 2 })))).toEqual([13, 1]);
    const long = longMachine();
    long.gate(14, SEL.CODE0, 0x8000_0000_0000n);
    expect(faultOf(long, () => deliverEvent(long, event(14, { errorCode: 2 })))).toEqual([13, 1]);
  });
  it("are #TS for a TSS that is too small or has a bad SS", () => {
    const m = protectedMachine(3);
    m.gate(14, SEL.CODE0, HANDLER);
    m.state.setSegment("tr", { ...m.state.segment("tr"), limit: 8 });
    expect(faultOf(m, () => deliverEvent(m, event(14, { errorCode: 0 })))).toEqual([10, SEL.TSS | 1]);
    const bad2 = protectedMachine(3);
    bad2.gate(14, SEL.CODE0, HANDLER);
    bad2.store(TSS + 8n, 2, 0n);
    expect(faultOf(bad2, () => deliverEvent(bad2, event(14, { errorCode: 0 })))).toEqual([10, 1]);
    bad2.store(TSS + 8n, 2, BigInt(SEL.DATA3));
    expect(faultOf(bad2, () => deliverEvent(bad2, event(14, { errorCode: 0 })))).toEqual([10, 0x21]);
  });
  it("are #SS for a stack pointer that is not canonical, and #PF for one that is not mapped", () => {
    const m = longMachine(3);
    m.gate(14, SEL.CODE0, HANDLER);
    m.store(TSS + 4n, 8, 0x8000_0000_0000n);
    expect(faultOf(m, () => deliverEvent(m, event(14, { errorCode: 0 })))).toEqual([12, 1]);
    m.store(TSS + 4n, 8, INNER_STACK);
    m.missing.add((INNER_STACK - 1n) >> 12n);
    expect(faultOf(m, () => deliverEvent(m, event(14, { errorCode: 0 })))).toEqual([14, 2]);
  });
});

describe("frames", () => {
  it("in real mode have three words, and clear IF, TF and AC", () => {
    const m = realMachine();
    m.store(0x84n, 4, 0xf0001234n);
    m.state.rflags = 0x40302n;
    deliverEvent(m, event(0x21, { type: INTR_TYPE.SOFT_INTR, returnRip: 0x102n, errorCode: 5 }));
    expect(m.get("nextRip")).toBe(0x1234n);
    expect(m.state.segment("cs")).toMatchObject({ selector: 0xf000, base: 0xf0000n });
    expect(m.get("rsp")).toBe(0x7ffan);
    expect(m.load(0x17ffan, 8) & 0xffff_ffff_ffffn).toBe(0x0302_1000_0102n);
    expect(m.state.rflags).toBe(2n);
  });
  it("at the same privilege push flags, CS, EIP and the error code", () => {
    const m = protectedMachine();
    m.gate(13, SEL.CODE0, HANDLER);
    m.state.rflags = 0x4302n;
    deliverEvent(m, event(13, { errorCode: 0x18, resumeFlag: true }));
    expect(m.get("rsp")).toBe(STACK - 16n);
    const frame = [0n, 4n, 8n, 12n].map((n) => m.load(STACK - 16n + n, 4));
    expect(frame).toEqual([0x18n, CODE, BigInt(SEL.CODE0), 0x14302n]);
    // An interrupt gate clears IF; TF and NT go with every gate.
    expect(m.state.rflags).toBe(2n);
  });
  it("keep IF through a trap gate, and push words through a 16-bit gate", () => {
    const m = protectedMachine();
    m.gate(3, SEL.CODE0, 0xffff1234n, 7);
    m.state.rflags = 0x202n;
    deliverEvent(m, event(3));
    expect(m.get("nextRip")).toBe(0x1234n);
    expect(m.get("rsp")).toBe(STACK - 6n);
    expect(m.state.rflags).toBe(0x202n);
  });
  it("from CPL 3 lie on the stack of the TSS, with SS and ESP", () => {
    const m = protectedMachine(3);
    m.gate(0x80, SEL.CODE0, HANDLER, 14, 3);
    deliverEvent(m, software(0x80));
    const frame = [0n, 4n, 8n, 12n, 16n].map((n) => m.load(INNER_STACK - 20n + n, 4));
    expect(frame).toEqual([CODE + 2n, BigInt(SEL.CODE3), 2n, STACK, BigInt(SEL.DATA3)]);
    expect(m.get("rsp")).toBe(INNER_STACK - 20n);
    expect(m.state.segment("ss")).toMatchObject({ selector: SEL.DATA0, rights: 0xc093 });
    expect(m.state.segment("cs")).toMatchObject({ selector: SEL.CODE0, rights: 0xc09b });
  });
  it("through a conforming segment stay at CPL 3", () => {
    const m = protectedMachine(3);
    m.gate(3, SEL.CONFORMING, HANDLER);
    deliverEvent(m, event(3));
    expect(m.state.segment("cs").selector).toBe(SEL.CONFORMING | 3);
    expect(m.get("rsp")).toBe(STACK - 12n);
  });
  it("from virtual-8086 mode hold the data segments, which become null", () => {
    const m = virtual8086Machine();
    m.gate(13, SEL.CODE0, HANDLER);
    deliverEvent(m, event(13, { errorCode: 0, returnRip: 0x100n }));
    const frame = Array.from({ length: 10 }, (_, n) => m.load(INNER_STACK - 40n + BigInt(n * 4), 4));
    expect(frame).toEqual([0n, 0x100n, 0x1000n, 0x20002n, 0x8000n, 0x1000n, 0x1000n, 0x1000n, 0x1000n, 0x1000n]);
    expect(m.state.rflags).toBe(2n);
    expect(m.state.segment("gs").rights).toBe(0x10000);
    expect(m.state.segment("ss").selector).toBe(SEL.DATA0);
  });
  it("from virtual-8086 mode need a handler at CPL 0", () => {
    const m = virtual8086Machine();
    m.gate(13, SEL.CONFORMING, HANDLER);
    expect(faultOf(m, () => deliverEvent(m, event(13, { errorCode: 0 })))).toEqual([13, SEL.CONFORMING | 1]);
  });
  it("in IA-32e mode are aligned to 16 bytes and hold SS:RSP always", () => {
    const m = longMachine();
    m.gate(14, SEL.CODE0, 0xffff_8000_0000_1000n);
    m.set("rsp", STACK - 4n);
    m.state.rflags = 0x246n;
    deliverEvent(m, event(14, { errorCode: 2 }));
    const frame = Array.from({ length: 6 }, (_, n) => m.load(STACK - 64n + BigInt(n * 8), 8));
    expect(frame).toEqual([2n, CODE, BigInt(SEL.CODE0), 0x246n, STACK - 4n, BigInt(SEL.DATA0)]);
    expect(m.get("rsp")).toBe(STACK - 64n);
    expect(m.get("nextRip")).toBe(0xffff_8000_0000_1000n);
    expect(m.state.segment("ss").selector).toBe(SEL.DATA0);
  });
  it("in IA-32e mode from CPL 3 load a null SS; the interrupt stack table has priority", () => {
    const m = longMachine(3);
    m.gate(14, SEL.CODE0, HANDLER);
    deliverEvent(m, event(14, { errorCode: 6 }));
    expect(m.get("rsp")).toBe(INNER_STACK - 48n);
    expect(m.state.segment("ss")).toMatchObject({ selector: 0, rights: 0x10000 });
    const ist = longMachine(3);
    ist.gate(2, SEL.CODE0, HANDLER, 14, 0, 1);
    deliverEvent(ist, event(2, { type: INTR_TYPE.NMI_INTR }));
    expect(ist.get("rsp")).toBe(0x50000n - 40n);
  });
  it("tell the machine of the new privilege level once it is in force", () => {
    for (const m of [protectedMachine(3), longMachine(3)]) {
      m.gate(14, SEL.CODE0, HANDLER);
      deliverEvent(m, event(14, { errorCode: 0 }));
      expect(m.modeAtChange).toBe(0);
    }
  });
  it("end the interrupt shadow", () => {
    const m = longMachine();
    m.gate(14, SEL.CODE0, HANDLER);
    m.state.set32(slot("interruptibility"), 11);
    deliverEvent(m, event(14, { errorCode: 0 }));
    expect(m.state.get32(slot("interruptibility"))).toBe(8);
  });
});

describe("task gates", () => {
  it("ask the machine for a task switch, after the checks of the TSS", () => {
    const m = protectedMachine();
    m.gate(8, SEL.TSS, 0n, 5);
    expect(faultOf(m, () => deliverEvent(m, event(8, { errorCode: 0 })))).toEqual([13, SEL.TSS | 1]);
    m.gdt(15, descriptor(0x89, 0, 0x7000, 0x67));
    m.gate(8, 0x78, 0n, 5);
    deliverEvent(m, event(8, { errorCode: 0 }));
    expect(m.log).toEqual(["task 78 gate 0"]);
  });
});

describe("double and triple faults", () => {
  it("come from contributory and page faults only", () => {
    expect(escalate(undefined, VECTOR.GP)).toBe("handle");
    expect(escalate(VECTOR.UD, VECTOR.PF)).toBe("handle");
    expect(escalate(VECTOR.GP, VECTOR.PF)).toBe("handle");
    expect(escalate(VECTOR.GP, VECTOR.NP)).toBe("double-fault");
    expect(escalate(VECTOR.PF, VECTOR.PF)).toBe("double-fault");
    expect(escalate(VECTOR.PF, VECTOR.GP)).toBe("double-fault");
    expect(escalate(VECTOR.PF, VECTOR.DB)).toBe("handle");
    expect(escalate(VECTOR.DF, VECTOR.PF)).toBe("triple-fault");
    expect(escalate(VECTOR.DF, VECTOR.GP)).toBe("triple-fault");
  });
});
