import { describe, expect, it } from "vitest";
import { slot, switchTask, type TaskSwitch, type TaskSwitchOutcome } from "../../src/index.js";
import { CODE, descriptor, faultOf, GDT, protectedMachine, SEL, STACK, TSS, virtual8086Machine, type TestEnvironment } from "./test-environment.js"; // prettier-ignore

const NEW_TSS = 0x5000n;
const NEW_SELECTOR = 0x80;
const NEW_STACK = 0x25000n;
const NT = 0x4000n;
const [TS, NP, SS, PF] = [10, 11, 12, 14];

/** Fields of a 32-bit TSS. */
const T = { cr3: 0x1cn, eip: 0x20n, eflags: 0x24n, eax: 0x28n, esp: 0x38n, es: 0x48n, cs: 0x4cn, ss: 0x50n, ds: 0x54n, fs: 0x58n, gs: 0x5cn, ldt: 0x60n, trap: 0x64n } as const; // prettier-ignore

const put = (m: TestEnvironment, field: keyof typeof T, value: bigint): void => m.store(NEW_TSS + T[field], 4, value);

/** A new task whose TSS has the given access byte: 0x89 available, 0x8b busy. */
function prepare(m: TestEnvironment, access = 0x89): TestEnvironment {
  m.gdt(NEW_SELECTOR / 8, descriptor(access, 0, Number(NEW_TSS), 0x67));
  put(m, "cr3", 0x7000n);
  put(m, "eip", 0x4321n);
  put(m, "eflags", 0x202n);
  put(m, "eax", 0x99n);
  put(m, "esp", NEW_STACK);
  put(m, "cs", BigInt(SEL.CODE0));
  for (const name of ["es", "ss", "ds", "fs", "gs"] as const) put(m, name, BigInt(SEL.DATA0));
  m.set("nextRip", CODE + 7n);
  return m;
}

const change = (m: TestEnvironment, parts: Partial<TaskSwitch> = {}): TaskSwitchOutcome =>
  switchTask(m, { selector: NEW_SELECTOR, cause: "call", ...parts });

/** Fault of the new task, as `[vector, error code]`. */
const taskFault = (m: TestEnvironment, parts?: Partial<TaskSwitch>): [number, number | undefined] | undefined => {
  const { fault } = change(m, parts);
  return fault === undefined ? undefined : [fault.vector, fault.errorCode];
};

const accessByte = (m: TestEnvironment, selector: number): number => m.memory.get(GDT + BigInt(selector) + 5n) ?? 0;

describe("the state of the tasks", () => {
  it("is saved in the old TSS and loaded from the new one", () => {
    const m = prepare(protectedMachine());
    m.state.setGpr(0, 0x1234n);
    m.state.rflags = 0x246n;
    expect(change(m)).toEqual({ debugTrap: false });
    expect(m.load(TSS + T.eip, 4)).toBe(CODE + 7n);
    expect(m.load(TSS + T.eflags, 4)).toBe(0x246n);
    expect(m.load(TSS + T.eax, 4)).toBe(0x1234n);
    expect(m.load(TSS + T.esp, 4)).toBe(STACK);
    expect(m.load(TSS + T.cs, 2)).toBe(BigInt(SEL.CODE0));
    expect(m.get("nextRip")).toBe(0x4321n);
    expect(m.get("rax")).toBe(0x99n);
    expect(m.get("rsp")).toBe(NEW_STACK);
    expect(m.get("cr3")).toBe(0x7000n);
    expect(m.state.segment("tr")).toMatchObject({ selector: NEW_SELECTOR, base: NEW_TSS, limit: 0x67, rights: 0x8b });
  });
  it("leaves CR3 and the selector of the LDT of the old TSS alone", () => {
    const m = prepare(protectedMachine());
    m.store(TSS + T.cr3, 4, 0x1111n);
    m.store(TSS + T.ldt, 4, 0x2222n);
    change(m);
    expect([m.load(TSS + T.cr3, 4), m.load(TSS + T.ldt, 4)]).toEqual([0x1111n, 0x2222n]);
  });
  it("does not load CR3 without paging", () => {
    const m = prepare(protectedMachine());
    m.set("cr0", 0x31n);
    m.set("cr3", 0x3000n);
    change(m);
    expect(m.get("cr3")).toBe(0x3000n);
  });
  it("sets CR0.TS and clears the local breakpoints", () => {
    const m = prepare(protectedMachine());
    m.set("dr7", 0x7ffn);
    change(m);
    expect(m.get("cr0") & 8n).toBe(8n);
    expect(m.get("dr7")).toBe(0x6aan);
  });
  it("has the 16-bit format too", () => {
    const m = prepare(protectedMachine());
    m.gdt(NEW_SELECTOR / 8, descriptor(0x81, 0, Number(NEW_TSS), 0x2b));
    const words = [0x4321n, 0x202n, ...Array.from({ length: 8 }, (_, i) => BigInt(0x10 + i))];
    words.forEach((value, i) => m.store(NEW_TSS + 0xen + BigInt(2 * i), 2, value));
    for (const [at, selector] of [
      [0x22n, SEL.DATA0],
      [0x24n, SEL.CODE0],
      [0x26n, SEL.DATA0],
      [0x28n, SEL.DATA0],
      [0x2an, 0],
    ] as const)
      // prettier-ignore
      m.store(NEW_TSS + at, 2, BigInt(selector));
    expect(change(m, { errorCode: 0x10 })).toEqual({ debugTrap: false });
    expect(m.get("nextRip")).toBe(0x4321n);
    expect(m.get("rdi")).toBe(0x17n);
    // The error code has the size of the task's registers.
    expect(m.get("rsp")).toBe(0x12n);
    expect(m.load(0x12n, 2)).toBe(0x10n);
  });
  it("loads virtual-8086 segments where the new EFLAGS have VM", () => {
    const m = prepare(protectedMachine());
    put(m, "eflags", 0x2_0002n);
    put(m, "cs", 0x1234n);
    expect(change(m)).toEqual({ debugTrap: false });
    expect(m.state.segment("cs")).toEqual({ selector: 0x1234, base: 0x12340n, limit: 0xffff, rights: 0xf3 });
  });
  it("leaves virtual-8086 mode for a task that has none", () => {
    const m = prepare(virtual8086Machine());
    change(m, { cause: "gate" });
    expect(m.state.segment("cs")).toMatchObject({ selector: SEL.CODE0, rights: 0xc09b });
    expect(m.state.segment("ss")).toMatchObject({ selector: SEL.DATA0, rights: 0xc093 });
  });
});

describe("the nesting of tasks", () => {
  it("links CALL and gates back, sets NT and leaves the old task busy", () => {
    for (const cause of ["call", "gate"] as const) {
      const m = prepare(protectedMachine());
      change(m, { cause });
      expect(m.load(NEW_TSS, 2)).toBe(BigInt(SEL.TSS));
      expect(m.state.rflags & NT).toBe(NT);
      expect([accessByte(m, SEL.TSS), accessByte(m, NEW_SELECTOR)]).toEqual([0x8b, 0x8b]);
    }
  });
  it("makes the old task available with JMP, without a link", () => {
    const m = prepare(protectedMachine());
    change(m, { cause: "jmp" });
    expect(m.load(NEW_TSS, 2)).toBe(0n);
    expect(m.state.rflags & NT).toBe(0n);
    expect([accessByte(m, SEL.TSS), accessByte(m, NEW_SELECTOR)]).toEqual([0x89, 0x8b]);
  });
  it("clears NT in what IRET saves, and loads NT from the TSS", () => {
    const m = prepare(protectedMachine(), 0x8b);
    m.state.rflags = 0x4002n;
    put(m, "eflags", 0x4002n);
    change(m, { cause: "iret" });
    expect(m.load(TSS + T.eflags, 4)).toBe(2n);
    expect(m.state.rflags & NT).toBe(NT);
    expect([accessByte(m, SEL.TSS), accessByte(m, NEW_SELECTOR)]).toEqual([0x89, 0x8b]);
  });
  it("pushes the error code on the new stack", () => {
    const m = prepare(protectedMachine());
    change(m, { cause: "gate", errorCode: 0x12 });
    expect(m.get("rsp")).toBe(NEW_STACK - 4n);
    expect(m.load(NEW_STACK - 4n, 4)).toBe(0x12n);
  });
  it("reports the T flag of the new TSS", () => {
    const m = prepare(protectedMachine());
    put(m, "trap", 1n);
    expect(change(m)).toEqual({ debugTrap: true });
  });
});

describe("a fault of the old task changes nothing", () => {
  it("#TS where the new TSS is too short, #NP where it is not present", () => {
    for (const [access, limit, expected] of [
      [0x89, 0x66, TS],
      [0x81, 0x2a, TS],
      [0x09, 0x67, NP],
    ] as const) {
      const m = prepare(protectedMachine());
      m.gdt(NEW_SELECTOR / 8, descriptor(access, 0, Number(NEW_TSS), limit));
      expect(faultOf(m, () => change(m))).toEqual([expected, NEW_SELECTOR]);
    }
  });
  it("#PF where either TSS or a descriptor to be written is missing", () => {
    for (const page of [TSS >> 12n, NEW_TSS >> 12n, GDT >> 12n]) {
      const m = prepare(protectedMachine());
      m.missing.add(page);
      expect(faultOf(m, () => change(m, { cause: "jmp" }))[0]).toBe(PF);
    }
  });
});

describe("a fault of the new task", () => {
  const cases: readonly [string, (m: TestEnvironment) => void, [number, number]][] = [
    ["an LDT that is none", (m) => put(m, "ldt", BigInt(SEL.DATA0)), [TS, SEL.DATA0]],
    ["an LDT in the LDT", (m) => put(m, "ldt", 0x54n), [TS, 0x54]],
    ["a null CS", (m) => put(m, "cs", 0n), [TS, 0]],
    ["CS of data", (m) => put(m, "cs", BigInt(SEL.DATA0)), [TS, SEL.DATA0]],
    ["CS whose DPL is not its RPL", (m) => put(m, "cs", BigInt(SEL.CODE0 | 3)), [TS, SEL.CODE0]],
    ["CS that is not present", (m) => { m.gdt(15, descriptor(0x1a)); put(m, "cs", 0x78n); }, [NP, 0x78]],
    ["a null SS", (m) => put(m, "ss", 0n), [TS, 0]],
    ["SS of another level", (m) => put(m, "ss", BigInt(SEL.DATA3)), [TS, SEL.DATA3 & ~3]],
    ["SS that is not present", (m) => put(m, "ss", BigInt(SEL.NOT_PRESENT)), [SS, SEL.NOT_PRESENT]],
    ["DS past the table", (m) => put(m, "ds", 0x2000n), [TS, 0x2000]],
    ["GS that is not present", (m) => put(m, "gs", BigInt(SEL.NOT_PRESENT)), [NP, SEL.NOT_PRESENT]],
  ]; // prettier-ignore
  it.each(cases)("meets %s", (_name, arrange, expected) => {
    const m = prepare(protectedMachine());
    arrange(m);
    expect(taskFault(m)).toEqual(expected);
    // The switch took place.
    expect(m.get("nextRip")).toBe(0x4321n);
    expect(m.state.segment("tr").selector).toBe(NEW_SELECTOR);
  });
  it("leaves the data segments behind it unusable, with the new selectors", () => {
    const m = prepare(protectedMachine());
    put(m, "ds", BigInt(SEL.NOT_PRESENT));
    change(m);
    expect(m.state.segment("es")).toMatchObject({ selector: SEL.DATA0, rights: 0xc093 });
    expect(m.state.segment("gs")).toMatchObject({ selector: SEL.DATA0, rights: 0x10000 });
  });
  it("is #PF where its stack cannot take the error code", () => {
    const m = prepare(protectedMachine());
    put(m, "esp", 0x9000n);
    m.missing.add(8n);
    expect(taskFault(m, { cause: "gate", errorCode: 0 })?.[0]).toBe(PF);
    expect(m.get("rsp")).toBe(0x9000n);
  });
  it("is that of refused page tables no more: those are the old task's", () => {
    const m = prepare(protectedMachine());
    m.state.set64(slot("cr4"), 0x20n);
    m.store(0x7000n, 8, 0x1ffn);
    expect(() => change(m)).toThrow(expect.objectContaining({ vector: 13, errorCode: 0 }));
  });
});
