import { CR0, DR6, RFLAGS, TASK_SWITCH_SOURCE, VECTOR } from "@tapvisor/x86-isa";
import { describe, expect, it } from "vitest";
import { SREG, type Segment } from "../../src/contract/index.js";
import { taskSwitch } from "../../src/emulate/task-switch.js";
import { scriptedVcpu } from "../support/scripted.js";

const GDT = 0x1000;
const IDT = 0x1800;
const OLD_TSS = 0x2000;
const NEW_TSS = 0x3000;
const STACK = 0x6000;
const SELECTOR = { code: 8, data: 16, old: 24, new: 32 } as const;
const { CALL, GATE } = TASK_SWITCH_SOURCE;

const flat = (selector: number, type: number): Segment => ({
  base: 0n, limit: 0xffffffff, selector, type, present: true, dpl: 0, db: true, s: true, l: false, g: true, avl: false,
  unusable: false,
}); // prettier-ignore

/** A vCPU in 32-bit code with a task that it may switch to. */
function guest() {
  const scripted = scriptedVcpu();
  const { vcpu, vm, stateOf } = scripted;
  const put = (at: number, words: readonly number[]): void =>
    vm.writeGuest(at, new Uint8Array(Uint32Array.from(words).buffer));
  const tss = (base: number, access: number): [number, number] => [(base << 16) | 0x67, access << 8];
  put(GDT, [0, 0, 0xffff, 0xcf9a00, 0xffff, 0xcf9200, ...tss(OLD_TSS, 0x8b), ...tss(NEW_TSS, 0x89)]);
  put(NEW_TSS + 0x20, [0x4000, 2, 0x11, 0x22, 0, 0, STACK, 0, 0, 0, 16, 8, 16, 16, 16, 16, 0, 0]);
  const state = stateOf(vcpu);
  state.gdt = { size: 0x27, address: BigInt(GDT) };
  state.idt = { size: 0x7ff, address: BigInt(IDT) };
  state.segments.set(SREG.CS, flat(SELECTOR.code, 11));
  for (const seg of [SREG.DS, SREG.ES, SREG.SS, SREG.FS, SREG.GS]) state.segments.set(seg, flat(SELECTOR.data, 3));
  state.segments.set(SREG.TR, { ...flat(SELECTOR.old, 11), base: BigInt(OLD_TSS), limit: 0x67, s: false, g: false });
  vcpu.arch.cr0 |= CR0.PE;
  vcpu.arch.dr7 = 0x703n;
  vcpu.setRegs({ rip: 0x5000n, rax: 0x99n });
  const word = (at: number): number => new DataView(vm.readGuest(at, 4).buffer).getUint32(0, true);
  return { ...scripted, state, put, word };
}

describe("kvm_task_switch", () => {
  it("saves the old task at RIP and goes on in the new one", () => {
    const { vcpu, state, word } = guest();
    expect(taskSwitch(vcpu, SELECTOR.new, -1, CALL, undefined)).toBe("done");
    expect([word(OLD_TSS + 0x20), word(OLD_TSS + 0x28)]).toEqual([0x5000, 0x99]);
    expect(vcpu.getRegs()).toMatchObject({ rip: 0x4000n, rax: 0x11n, rsp: BigInt(STACK) });
    expect(state.rflags & RFLAGS.NT).toBe(RFLAGS.NT);
    expect(state.segments.get(SREG.TR)).toMatchObject({ selector: SELECTOR.new, base: BigInt(NEW_TSS), type: 11 });
    expect(vcpu.arch.cr0 & CR0.TS).toBe(CR0.TS);
    expect(vcpu.arch.dr7).toBe(0x602n);
  });

  it("pushes the error code of the exception that the task handles", () => {
    const { vcpu, word } = guest();
    taskSwitch(vcpu, SELECTOR.new, -1, GATE, 0x1234);
    expect(vcpu.getRegs().rsp).toBe(BigInt(STACK - 4));
    expect(word(STACK - 4)).toBe(0x1234);
  });

  it("gives the old task a fault that it meets, with nothing written", () => {
    const { vcpu, state, put, word } = guest();
    put(GDT + SELECTOR.new, [(NEW_TSS << 16) | 0x66, 0x8900]);
    expect(taskSwitch(vcpu, SELECTOR.new, -1, CALL, undefined)).toBe("done");
    expect(vcpu.arch.exception).toMatchObject({ pending: true, nr: VECTOR.TS, errorCode: SELECTOR.new });
    expect(word(OLD_TSS + 0x20)).toBe(0);
    expect(vcpu.getRegs().rip).toBe(0x5000n);
    expect(state.segments.get(SREG.TR)?.selector).toBe(SELECTOR.old);
  });

  it("gives the new task a fault of its own segments", () => {
    const { vcpu, put } = guest();
    put(NEW_TSS + 0x54, [0x1000]);
    taskSwitch(vcpu, SELECTOR.new, -1, CALL, undefined);
    expect(vcpu.arch.exception).toMatchObject({ pending: true, nr: VECTOR.TS, errorCode: 0x1000 });
    expect(vcpu.getRegs().rip).toBe(0x4000n);
  });

  it("traps with DR6.BT where the TSS has its T flag set", () => {
    const { vcpu, put } = guest();
    put(NEW_TSS + 0x64, [1]);
    taskSwitch(vcpu, SELECTOR.new, -1, CALL, undefined);
    expect(vcpu.arch.exception).toMatchObject({ pending: true, nr: VECTOR.DB });
    expect(vcpu.arch.dr6 & DR6.BT).toBe(DR6.BT);
  });

  it("checks the privilege of the gate of a software interrupt", () => {
    const { vcpu, put, state } = guest();
    put(IDT + 8 * 0x40, [SELECTOR.new << 16, 0x8500]);
    state.segments.set(SREG.SS, { ...flat(SELECTOR.data, 3), dpl: 3 });
    taskSwitch(vcpu, SELECTOR.new, 0x40, GATE, undefined);
    expect(vcpu.arch.exception).toMatchObject({ pending: true, nr: VECTOR.GP, errorCode: 0x202 });
    expect(vcpu.getRegs().rip).toBe(0x5000n);
  });
});
