import { CPU_BASED, EXIT_REASON, SECONDARY_EXEC, byte, mem, qword, reg, type Assembler } from "@tapvisor/x86-isa";
import { describe, expect, it } from "vitest";
import { Guest, STACK, type Mode } from "./guest.js";

const { rax, rbx, rcx, rdx, rsi, eax, ax, al, dx, cr0, cr3, cr8, dr6, r9 } = reg;
const primary = (bits: number) => (g: Guest) => g.set("CPU_BASED_VM_EXEC_CONTROL", bits);
const secondary = (bits: number) => (g: Guest) => g.set("SECONDARY_VM_EXEC_CONTROL", bits);

interface ExitCase {
  readonly name: string;
  readonly code: (a: Assembler) => void;
  readonly controls?: (g: Guest) => void;
  readonly mode?: Mode;
  readonly reason: number;
  readonly qualification?: bigint;
  readonly length?: bigint;
  readonly information?: bigint;
  /** Without the controls the instruction goes through, to the HLT after it. */
  readonly conditional?: boolean;
}

const CASES: readonly ExitCase[] = [
  { name: "CPUID", code: (a) => a.cpuid(), reason: EXIT_REASON.CPUID, length: 2n },
  { name: "HLT", code: (a) => a.hlt(), reason: EXIT_REASON.HLT, length: 1n },
  { name: "INVD", code: (a) => a.invd(), reason: EXIT_REASON.INVD, length: 2n },
  { name: "VMCALL", code: (a) => a.vmcall(), reason: EXIT_REASON.VMCALL, length: 3n },
  { name: "VMLAUNCH", code: (a) => a.vmlaunch(), reason: EXIT_REASON.VMLAUNCH, length: 3n },
  { name: "VMXOFF", code: (a) => a.vmxoff(), reason: EXIT_REASON.VMXOFF, length: 3n },
  {
    name: "VMPTRLD with its operand",
    code: (a) => a.vmptrld(qword(rbx, 0x10)),
    reason: EXIT_REASON.VMPTRLD,
    qualification: 0x10n,
    // 64-bit addresses, DS, no index, base RBX.
    information: (2n << 7n) | (3n << 15n) | (1n << 22n) | (3n << 23n),
  },
  {
    name: "VMREAD into a register",
    code: (a) => a.vmread(rcx, rdx),
    reason: EXIT_REASON.VMREAD,
    information: (1n << 10n) | (1n << 3n) | (2n << 28n),
  },
  {
    name: "RDTSC",
    code: (a) => a.rdtsc(),
    controls: primary(CPU_BASED.RDTSC_EXITING),
    reason: EXIT_REASON.RDTSC,
    length: 2n,
    conditional: true,
  },
  {
    name: "RDTSCP",
    code: (a) => a.rdtscp(),
    controls: (g) => {
      primary(CPU_BASED.RDTSC_EXITING)(g);
      secondary(SECONDARY_EXEC.RDTSCP)(g);
    },
    reason: EXIT_REASON.RDTSCP,
    length: 3n,
  },
  {
    name: "RDPMC",
    code: (a) => a.rdpmc(),
    controls: primary(CPU_BASED.RDPMC_EXITING),
    reason: EXIT_REASON.RDPMC,
    length: 2n,
  },
  {
    name: "INVLPG with the linear address",
    code: (a) => {
      a.mov(rbx, 0x123456789000n);
      a.invlpg(byte(rbx, 0x10));
    },
    controls: primary(CPU_BASED.INVLPG_EXITING),
    reason: EXIT_REASON.INVLPG,
    qualification: 0x123456789010n,
    conditional: true,
  },
  {
    name: "INVPCID",
    code: (a) => {
      a.mov(rbx, BigInt(STACK));
      a.mov(rax, 2n);
      a.invpcid(rax, mem(rbx));
    },
    controls: (g) => {
      primary(CPU_BASED.INVLPG_EXITING)(g);
      secondary(SECONDARY_EXEC.ENABLE_INVPCID)(g);
    },
    reason: EXIT_REASON.INVPCID,
    information: (2n << 7n) | (3n << 15n) | (1n << 22n) | (3n << 23n),
  },
  {
    name: "WBINVD",
    code: (a) => a.wbinvd(),
    controls: secondary(SECONDARY_EXEC.WBINVD_EXITING),
    reason: EXIT_REASON.WBINVD,
    length: 2n,
    conditional: true,
  },
  {
    name: "PAUSE",
    code: (a) => a.pause(),
    controls: primary(CPU_BASED.PAUSE_EXITING),
    reason: EXIT_REASON.PAUSE_INSTRUCTION,
    length: 2n,
    conditional: true,
  },
  {
    name: "MONITOR",
    code: (a) => a.monitor(),
    controls: primary(CPU_BASED.MONITOR_EXITING),
    reason: EXIT_REASON.MONITOR_INSTRUCTION,
    length: 3n,
    conditional: true,
  },
  {
    name: "MWAIT",
    code: (a) => a.mwait(),
    controls: primary(CPU_BASED.MWAIT_EXITING),
    reason: EXIT_REASON.MWAIT_INSTRUCTION,
    length: 3n,
    conditional: true,
  },
  {
    name: "RDRAND",
    code: (a) => a.rdrand(r9),
    controls: secondary(SECONDARY_EXEC.RDRAND_EXITING),
    reason: EXIT_REASON.RDRAND,
    information: (9n << 3n) | (2n << 11n),
    conditional: true,
  },
  {
    name: "RDSEED",
    code: (a) => a.rdseed(ax),
    controls: secondary(SECONDARY_EXEC.RDSEED_EXITING),
    reason: EXIT_REASON.RDSEED,
    information: 0n,
    conditional: true,
  },
  {
    name: "MOV from DR",
    code: (a) => a.mov(rsi, dr6),
    controls: primary(CPU_BASED.MOV_DR_EXITING),
    reason: EXIT_REASON.DR_ACCESS,
    qualification: 6n | (1n << 4n) | (6n << 8n),
    length: 3n,
    conditional: true,
  },
  {
    name: "MOV from CR3",
    code: (a) => a.mov(rbx, cr3),
    controls: primary(CPU_BASED.CR3_STORE_EXITING),
    reason: EXIT_REASON.CR_ACCESS,
    qualification: 3n | (1n << 4n) | (3n << 8n),
    conditional: true,
  },
  {
    name: "MOV to CR3",
    code: (a) => {
      a.mov(rbx, cr3);
      a.mov(cr3, rbx);
    },
    controls: primary(CPU_BASED.CR3_LOAD_EXITING),
    reason: EXIT_REASON.CR_ACCESS,
    qualification: 3n | (3n << 8n),
    conditional: true,
  },
  {
    name: "MOV from CR8",
    code: (a) => a.mov(rbx, cr8),
    controls: primary(CPU_BASED.CR8_STORE_EXITING),
    reason: EXIT_REASON.CR_ACCESS,
    qualification: 8n | (1n << 4n) | (3n << 8n),
    conditional: true,
  },
  {
    name: "MOV to CR8",
    code: (a) => {
      a.mov(eax, 3);
      a.mov(cr8, rax);
    },
    controls: primary(CPU_BASED.CR8_LOAD_EXITING),
    reason: EXIT_REASON.CR_ACCESS,
    qualification: 8n,
    conditional: true,
  },
  {
    name: "MOV to CR0 where the mask and the shadow differ",
    code: (a) => {
      a.mov(rax, cr0);
      a.or(rax, 8);
      a.mov(cr0, rax);
    },
    controls: (g) => g.write("CR0_GUEST_HOST_MASK", 8),
    reason: EXIT_REASON.CR_ACCESS,
    qualification: 0n,
    conditional: true,
  },
  {
    name: "CLTS where the shadow has TS",
    code: (a) => a.clts(),
    controls: (g) => {
      g.write("CR0_GUEST_HOST_MASK", 8);
      g.write("CR0_READ_SHADOW", 8);
    },
    reason: EXIT_REASON.CR_ACCESS,
    qualification: 2n << 4n,
    length: 2n,
    conditional: true,
  },
  {
    name: "LMSW that sets TS in the mask",
    code: (a) => {
      a.mov(eax, 9);
      a.lmsw(ax);
    },
    controls: (g) => g.write("CR0_GUEST_HOST_MASK", 8),
    reason: EXIT_REASON.CR_ACCESS,
    qualification: (3n << 4n) | (9n << 16n),
    conditional: true,
  },
  {
    name: "IN by an immediate port",
    code: (a) => a.in(al, 0x71),
    controls: primary(CPU_BASED.UNCOND_IO_EXITING),
    reason: EXIT_REASON.IO_INSTRUCTION,
    qualification: (0x71n << 16n) | (1n << 3n) | (1n << 6n),
    length: 2n,
    conditional: true,
  },
  {
    name: "OUT to the port in DX",
    code: (a) => {
      a.mov(dx, 0x3f8);
      a.out(dx, eax);
    },
    controls: primary(CPU_BASED.UNCOND_IO_EXITING),
    reason: EXIT_REASON.IO_INSTRUCTION,
    qualification: (0x3f8n << 16n) | 3n,
    length: 1n,
    conditional: true,
  },
  {
    name: "INVVPID",
    code: (a) => a.invvpid(rax, mem(rbx)),
    reason: EXIT_REASON.INVVPID,
    information: (2n << 7n) | (3n << 15n) | (1n << 22n) | (3n << 23n),
  },
  {
    name: "LGDT with descriptor-table exiting",
    code: (a) => a.lgdt(mem(rbx, 8)),
    controls: secondary(SECONDARY_EXEC.DESC),
    reason: EXIT_REASON.GDTR_IDTR,
    qualification: 8n,
  },
  {
    name: "STR with descriptor-table exiting",
    code: (a) => a.str(ax),
    controls: secondary(SECONDARY_EXEC.DESC),
    reason: EXIT_REASON.LDTR_TR,
    information: (1n << 10n) | (1n << 28n),
    conditional: true,
  },
  {
    name: "RDMSR without MSR bitmaps",
    code: (a) => {
      a.mov(reg.ecx, 0x10);
      a.rdmsr();
    },
    reason: EXIT_REASON.MSR_READ,
    length: 2n,
  },
];

describe("a guest exits for", () => {
  it.each(CASES)("$name", ({ code, controls, mode = "long", reason, qualification, length, information }) => {
    const guest = new Guest(mode).code(64, (a) => {
      a.label("first");
      code(a);
      a.hlt();
    });
    controls?.(guest);
    expect(guest.run()).toBe(reason);
    if (qualification !== undefined) expect(guest.read("EXIT_QUALIFICATION")).toBe(qualification);
    if (length !== undefined) expect(guest.read("VM_EXIT_INSTRUCTION_LEN")).toBe(length);
    if (information !== undefined) expect(guest.read("VMX_INSTRUCTION_INFO")).toBe(information);
    expect(guest.read("VM_EXIT_INTR_INFO")).toBe(0n);
    expect(guest.read("IDT_VECTORING_INFO_FIELD")).toBe(0n);
  });

  it.each(CASES.filter((c) => c.conditional === true))("nothing where the control is off: $name", ({ code }) => {
    const guest = new Guest().code(64, (a) => {
      code(a);
      a.hlt();
    });
    guest.setGpr(3, BigInt(STACK));
    expect(guest.run()).toBe(EXIT_REASON.HLT);
  });
});
