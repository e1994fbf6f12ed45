import {
  CPU_BASED,
  CR0,
  EXIT_REASON,
  INTERRUPTIBILITY,
  PENDING_DEBUG,
  PIN_BASED,
  RFLAGS,
  VM_ENTRY,
  VM_EXIT,
  dword,
  mem,
  reg,
  type Assembler,
} from "@tapvisor/x86-isa";
import { describe, expect, it } from "vitest";
import { CODE, Guest, STACK } from "./guest.js";

const { rax, eax, rbx, ax, ss } = reg;

const TF = 0x100;
const HLT_STATE = 1n;

const guestWith = (write: (a: Assembler) => void, bits: 32 | 64 = 64): Guest =>
  new Guest(bits === 64 ? "long" : "protected").code(bits, (a) => {
    write(a);
    a.hlt();
  });
const resumeFlag = (guest: Guest): boolean => (guest.read("GUEST_RFLAGS") & RFLAGS.RF) !== 0n;

/** SDM vol. 3, "Saving RIP, RSP, RFLAGS, and SSP". */
describe("RF of the saved RFLAGS", () => {
  it.each<[string, (a: Assembler) => void, number]>([
    ["#UD", (a) => a.ud2(), 6],
    ["#PF", (a) => a.mov(rbx, 0x4000_0000n).mov(eax, dword(rbx)), 14],
    ["#GP", (a) => a.mov(ax, 0x1234).mov(ss, ax), 13],
  ])("is 1 for %s, as it would be pushed", (_, code, vector) => {
    const guest = guestWith(code);
    guest.write("EXCEPTION_BITMAP", 1 << vector);
    expect(guest.run()).toBe(EXIT_REASON.EXCEPTION_NMI);
    expect(resumeFlag(guest)).toBe(true);
  });

  it.each<[string, (a: Assembler) => void]>([
    ["INT3", (a) => a.int3()],
    ["a single-step trap", (a) => a.nop()],
  ])("is 0 for %s", (name, code) => {
    const guest = guestWith(code);
    if (name !== "INT3") guest.write("GUEST_RFLAGS", 2 | TF);
    guest.write("EXCEPTION_BITMAP", (1 << 3) | (1 << 1));
    expect(guest.run()).toBe(EXIT_REASON.EXCEPTION_NMI);
    expect(resumeFlag(guest)).toBe(false);
  });

  it("is 0 for an instruction that exits, whatever it was", () => {
    const guest = guestWith((a) => a.cpuid());
    guest.write("GUEST_RFLAGS", 2n | RFLAGS.RF);
    expect(guest.run()).toBe(EXIT_REASON.CPUID);
    expect(resumeFlag(guest)).toBe(false);
  });

  it("stays for an EPT violation, which the instruction is executed anew after", () => {
    const guest = guestWith((a) => a.mov(eax, dword({ disp: 0x200000, absolute: true })));
    guest.host.memory.writeU64(guest.at(0x3008), 0x200083n);
    guest.write("GUEST_RFLAGS", 2n | RFLAGS.RF);
    expect(guest.run()).toBe(EXIT_REASON.EPT_VIOLATION);
    expect(resumeFlag(guest)).toBe(true);
  });
});

/** SDM vol. 3, "Saving Non-Register State". */
describe("non-register state that is saved", () => {
  it("has blocking by STI or MOV SS as it was when the instruction began that exits", () => {
    const sti = guestWith((a) => a.sti().cpuid());
    expect(sti.run()).toBe(EXIT_REASON.CPUID);
    expect(sti.read("GUEST_INTERRUPTIBILITY_INFO")).toBe(BigInt(INTERRUPTIBILITY.STI));
    const movSs = guestWith((a) => a.mov(ax, 0x10).mov(ss, ax).cpuid());
    expect(movSs.run()).toBe(EXIT_REASON.CPUID);
    expect(movSs.read("GUEST_INTERRUPTIBILITY_INFO")).toBe(BigInt(INTERRUPTIBILITY.MOV_SS));
    const later = guestWith((a) => a.mov(ax, 0x10).mov(ss, ax).nop().cpuid());
    expect(later.run()).toBe(EXIT_REASON.CPUID);
    expect(later.read("GUEST_INTERRUPTIBILITY_INFO")).toBe(0n);
  });

  it("has the single-step trap that MOV SS holds back, and none otherwise", () => {
    const movSs = guestWith((a) => a.mov(ss, ax).cpuid());
    movSs.setGpr(0, 0x10n);
    movSs.write("GUEST_RFLAGS", 2 | TF);
    expect(movSs.run()).toBe(EXIT_REASON.CPUID);
    expect(movSs.read("GUEST_PENDING_DBG_EXCEPTIONS")).toBe(PENDING_DEBUG.BS);
    const cpuid = guestWith((a) => a.cpuid());
    cpuid.write("GUEST_RFLAGS", 2 | TF);
    expect(cpuid.run()).toBe(EXIT_REASON.CPUID);
    expect(cpuid.read("GUEST_PENDING_DBG_EXCEPTIONS")).toBe(0n);
  });

  it("has no trap of STI, for which the exit is itself", () => {
    const guest = guestWith((a) => a.sti());
    guest.write("GUEST_RFLAGS", 2 | TF);
    guest.write("EXCEPTION_BITMAP", 1 << 1);
    expect(guest.run()).toBe(EXIT_REASON.EXCEPTION_NMI);
    expect(guest.read("EXIT_QUALIFICATION")).toBe(0x4000n);
    expect(guest.read("GUEST_INTERRUPTIBILITY_INFO")).toBe(BigInt(INTERRUPTIBILITY.STI));
    expect(guest.read("GUEST_PENDING_DBG_EXCEPTIONS")).toBe(0n);
  });

  it("has the data breakpoint that MOV SS met", () => {
    const guest = guestWith((a) => a.mov(ss, mem(rbx)).cpuid());
    guest.host.memory.writeU32(guest.at(0x6800), 0x10);
    guest.setGpr(3, 0x6800n);
    guest.cpu.writeDr(0, 0x6800n);
    guest.set("VM_ENTRY_CONTROLS", VM_ENTRY.LOAD_DEBUG_CONTROLS);
    guest.write("GUEST_DR7", 0x400 | 2 | (0b0111 << 16));
    expect(guest.run()).toBe(EXIT_REASON.CPUID);
    expect(guest.read("GUEST_PENDING_DBG_EXCEPTIONS")).toBe(PENDING_DEBUG.B0 | PENDING_DEBUG.ENABLED_BREAKPOINT);
  });

  it("has the activity state that an interrupt ends", () => {
    const guest = guestWith((a) => a.sti());
    guest.clear("CPU_BASED_VM_EXEC_CONTROL", CPU_BASED.HLT_EXITING);
    guest.set("PIN_BASED_VM_EXEC_CONTROL", PIN_BASED.EXT_INTR_EXITING);
    guest.cpu.setTimer(guest.cpu.tsc() + 5000);
    expect(guest.run()).toBe(EXIT_REASON.EXTERNAL_INTERRUPT);
    expect(guest.read("GUEST_ACTIVITY_STATE")).toBe(HLT_STATE);
    expect(guest.read("GUEST_INTERRUPTIBILITY_INFO")).toBe(0n);
  });
});

/** SDM vol. 3, "Saving Control Registers, Debug Registers, and MSRs". */
describe("debug controls", () => {
  it("are saved where the exit control says so", () => {
    const set = (save: boolean): bigint => {
      const guest = guestWith((a) => a.mov(rax, 0x401n).mov(reg.dr7, rax).cpuid());
      if (save) guest.set("VM_EXIT_CONTROLS", VM_EXIT.SAVE_DEBUG_CONTROLS);
      else guest.clear("VM_EXIT_CONTROLS", VM_EXIT.SAVE_DEBUG_CONTROLS);
      expect(guest.run()).toBe(EXIT_REASON.CPUID);
      return guest.read("GUEST_DR7");
    };
    expect(set(true)).toBe(0x401n);
    expect(set(false)).toBe(0x400n);
  });
});

/** SDM vol. 3, "Information for VM Exits That Occur During Event Delivery". */
describe("an exit during the delivery of an event", () => {
  const NOT_IN_EPT = 0x200000;
  const notInEpt = (guest: Guest): Guest => {
    guest.host.memory.writeU64(guest.at(0x3008), 0x200083n);
    guest.write("GUEST_IDTR_BASE", NOT_IN_EPT);
    return guest;
  };

  it("reports a software interrupt with its length", () => {
    const guest = notInEpt(guestWith((a) => a.int(0x42)));
    expect(guest.run()).toBe(EXIT_REASON.EPT_VIOLATION);
    expect(guest.read("IDT_VECTORING_INFO_FIELD")).toBe(0x80000442n);
    expect(guest.read("VM_EXIT_INSTRUCTION_LEN")).toBe(2n);
    expect(guest.read("GUEST_RIP")).toBe(BigInt(CODE));
    expect(guest.read("GUEST_RSP")).toBe(BigInt(STACK));
  });

  it("reports INT3 and INT1 by their types", () => {
    for (const [write, information] of [
      [(a: Assembler) => a.int3(), 0x80000603n],
      [(a: Assembler) => a.int1(), 0x80000501n],
    ] as const) {
      const guest = notInEpt(guestWith(write));
      expect(guest.run()).toBe(EXIT_REASON.EPT_VIOLATION);
      expect(guest.read("IDT_VECTORING_INFO_FIELD")).toBe(information);
      expect(guest.read("VM_EXIT_INSTRUCTION_LEN")).toBe(1n);
    }
  });

  it("reports an exception with its error code, and the CR2 that it has loaded", () => {
    const guest = notInEpt(guestWith((a) => a.mov(rbx, 0x4000_1234n).mov(eax, dword(rbx))));
    expect(guest.run()).toBe(EXIT_REASON.EPT_VIOLATION);
    expect(guest.read("IDT_VECTORING_INFO_FIELD")).toBe(0x80000b0en);
    expect(guest.read("IDT_VECTORING_ERROR_CODE")).toBe(0n);
    expect(guest.cpu.readCr(2)).toBe(0x4000_1234n);
  });

  it("reports an injected event with the length that the entry gave", () => {
    const guest = notInEpt(guestWith((a) => a.nop()));
    guest.write("VM_ENTRY_INTR_INFO_FIELD", 0x80000480);
    guest.write("VM_ENTRY_INSTRUCTION_LEN", 3);
    expect(guest.run()).toBe(EXIT_REASON.EPT_VIOLATION);
    expect(guest.read("IDT_VECTORING_INFO_FIELD")).toBe(0x80000480n);
    expect(guest.read("VM_EXIT_INSTRUCTION_LEN")).toBe(3n);
  });

  it("reports nothing once the event has been delivered", () => {
    const guest = guestWith((a) => a.int(0x42));
    expect(guest.run()).toBe(EXIT_REASON.HLT);
    expect(guest.read("IDT_VECTORING_INFO_FIELD")).toBe(0n);
  });
});

/** SDM vol. 3, "Treatment of Task Switches". */
describe("a task switch", () => {
  const GDT = 0x4000;
  const OTHER = 0x28;
  /** A second TSS, available, and a task gate at vector 0x33 that names it. */
  const tasks = (write: (a: Assembler) => void): Guest => {
    const guest = guestWith(write, 32);
    const { memory } = guest.host;
    memory.writeU64(guest.at(GDT + OTHER), 0x00008b0066000067n & ~(2n << 40n));
    memory.writeU64(guest.at(0x5000 + 0x33 * 8), (0xe5n << 40n) | (BigInt(OTHER) << 16n));
    return guest;
  };

  it.each<[string, (a: Assembler) => void, bigint, bigint]>([
    ["CALL", (a) => a.db(0x9a, 0, 0, 0, 0, OTHER, 0), 0n, 7n],
    ["JMP", (a) => a.db(0xea, 0, 0, 0, 0, OTHER, 0), 2n, 7n],
    ["INT n through a task gate", (a) => a.int(0x33), 3n, 2n],
  ])("by %s exits with selector, source and length, and has changed nothing", (_, code, source, length) => {
    const guest = tasks(code);
    expect(guest.run()).toBe(EXIT_REASON.TASK_SWITCH);
    expect(guest.read("EXIT_QUALIFICATION")).toBe((source << 30n) | BigInt(OTHER));
    expect(guest.read("VM_EXIT_INSTRUCTION_LEN")).toBe(length);
    expect(guest.read("IDT_VECTORING_INFO_FIELD")).toBe(source === 3n ? 0x80000433n : 0n);
    expect(guest.read("GUEST_RIP")).toBe(BigInt(CODE));
    expect(guest.read("GUEST_TR_SELECTOR")).toBe(0x20n);
    expect(guest.read("GUEST_CR0") & CR0.TS).toBe(0n);
  });

  it("by an exception through a task gate reports the exception and its error code", () => {
    const guest = tasks((a) => a.mov(ax, 0x1234).mov(ss, ax));
    guest.host.memory.writeU64(guest.at(0x5000 + 13 * 8), (0x85n << 40n) | (BigInt(OTHER) << 16n));
    expect(guest.run()).toBe(EXIT_REASON.TASK_SWITCH);
    expect(guest.read("EXIT_QUALIFICATION")).toBe((3n << 30n) | BigInt(OTHER));
    expect(guest.read("IDT_VECTORING_INFO_FIELD")).toBe(0x80000b0dn);
    expect(guest.read("IDT_VECTORING_ERROR_CODE")).toBe(0x1234n);
  });

  it("to a TSS that is busy, or not present, is the guest's fault instead", () => {
    for (const [rights, vector] of [
      [0x8bn, 13n],
      [0x09n, 11n],
    ] as const) {
      const guest = tasks((a) => a.db(0xea, 0, 0, 0, 0, OTHER, 0));
      guest.write("EXCEPTION_BITMAP", 0xffffffff);
      guest.host.memory.writeU64(guest.at(GDT + OTHER), 0x0000000066000067n | (rights << 40n));
      expect(guest.run()).toBe(EXIT_REASON.EXCEPTION_NMI);
      expect(guest.read("VM_EXIT_INTR_INFO") & 0xffn).toBe(vector);
      expect(guest.read("VM_EXIT_INTR_ERROR_CODE")).toBe(BigInt(OTHER));
    }
  });
});

/** SDM vol. 3, "Exit Qualification for I/O Instructions"; "Format of the VM-Exit Instruction-Information Field as Used for INS and OUTS". */
describe("string I/O", () => {
  it.each<[string, (a: Assembler) => void, bigint, bigint, bigint]>([
    ["INSB", (a) => a.insb(), 0x18n, 0x6900n, 2n << 7n],
    ["REP OUTSD", (a) => a.rep().outsd(), 0x33n, 0x6800n, (2n << 7n) | (3n << 15n)],
    ["OUTSW through FS", (a) => a.db(0x64, 0x66, 0x6f), 0x11n, 0x6810n, (2n << 7n) | (4n << 15n)],
  ])("%s reports direction, size, repetition, linear address and segment", (_, code, flags, linear, information) => {
    const guest = guestWith(code);
    guest.set("CPU_BASED_VM_EXEC_CONTROL", CPU_BASED.UNCOND_IO_EXITING);
    guest.setGpr(2, 0x60n);
    guest.setGpr(1, 2n);
    guest.setGpr(6, 0x6800n);
    guest.setGpr(7, 0x6900n);
    guest.write("GUEST_FS_BASE", 0x10);
    expect(guest.run()).toBe(EXIT_REASON.IO_INSTRUCTION);
    expect(guest.read("EXIT_QUALIFICATION")).toBe((0x60n << 16n) | flags);
    expect(guest.read("GUEST_LINEAR_ADDRESS")).toBe(linear);
    expect(guest.read("VMX_INSTRUCTION_INFO")).toBe(information);
  });
});
