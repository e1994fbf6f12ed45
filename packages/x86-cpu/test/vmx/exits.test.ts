import {
  CPU_BASED,
  EXIT_REASON,
  PIN_BASED,
  SECONDARY_EXEC,
  VM_EXIT,
  byte,
  mem,
  qword,
  reg,
  type Assembler,
} from "@tapvisor/x86-isa";
import { describe, expect, it } from "vitest";
import { CODE, Guest, HANDLERS, STACK, type Mode } from "./guest.js";

const { rax, rbx, rcx, rdx, rsi, eax, ax, al, dx, cr0, cr3, cr4, cr8, dr6, r9 } = reg;
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

const BITMAP_PAGE = (g: Guest): number => g.host.memory.allocatePage();

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

describe("intercepts by bitmap", () => {
  const io = (port: number, set: number): number => {
    const guest = new Guest().code(64, (a) => {
      a.mov(dx, port);
      a.in(ax, dx);
      a.hlt();
    });
    const a = BITMAP_PAGE(guest);
    const b = BITMAP_PAGE(guest);
    guest.set("CPU_BASED_VM_EXEC_CONTROL", CPU_BASED.USE_IO_BITMAPS);
    guest.write("IO_BITMAP_A", a);
    guest.write("IO_BITMAP_B", b);
    const page = set >= 0x8000 ? b : a;
    guest.host.memory.writeU8(page + ((set & 0x7fff) >> 3), 1 << (set & 7));
    return guest.run();
  };

  it("of I/O exits for any byte of the access", () => {
    expect(io(0x70, 0x71)).toBe(EXIT_REASON.IO_INSTRUCTION);
    expect(io(0x7fff, 0x8000)).toBe(EXIT_REASON.IO_INSTRUCTION);
    expect(io(0x70, 0x72)).toBe(EXIT_REASON.HLT);
  });

  it("of I/O exits for an access that wraps around the ports", () => {
    expect(io(0xffff, 0x10)).toBe(EXIT_REASON.IO_INSTRUCTION);
  });

  const msr = (index: number, write: boolean, bit: number | undefined): number => {
    const guest = new Guest().code(64, (a) => {
      a.mov(reg.ecx, index);
      if (write) a.wrmsr();
      else a.rdmsr();
      a.hlt();
    });
    const page = BITMAP_PAGE(guest);
    guest.set("CPU_BASED_VM_EXEC_CONTROL", CPU_BASED.USE_MSR_BITMAPS);
    guest.write("MSR_BITMAP", page);
    if (bit !== undefined) guest.host.memory.writeU8(page + (bit >> 3), 1 << (bit & 7));
    return guest.run();
  };

  it("of MSRs tells reads from writes, and the low range from the high one", () => {
    expect(msr(0x174, false, 0x174)).toBe(EXIT_REASON.MSR_READ);
    expect(msr(0x174, true, 0x174)).toBe(EXIT_REASON.HLT);
    expect(msr(0x174, true, 2048 * 8 + 0x174)).toBe(EXIT_REASON.MSR_WRITE);
    expect(msr(0xc0000082, false, 1024 * 8 + 0x82)).toBe(EXIT_REASON.MSR_READ);
    expect(msr(0xc0000082, true, 3072 * 8 + 0x82)).toBe(EXIT_REASON.MSR_WRITE);
    expect(msr(0xc0000082, false, undefined)).toBe(EXIT_REASON.HLT);
  });

  it("of MSRs exits for an MSR outside both ranges", () => {
    expect(msr(0x40000000, false, undefined)).toBe(EXIT_REASON.MSR_READ);
  });
});

describe("control registers", () => {
  it("read the shadow where the guest/host mask is set, and keep the host's bits when written", () => {
    const guest = new Guest().code(64, (a) => {
      a.mov(rbx, cr4);
      a.mov(rcx, rbx);
      a.or(rcx, 0x80);
      a.mov(cr4, rcx);
      a.mov(rdx, cr4);
      a.hlt();
    });
    guest.write("CR4_GUEST_HOST_MASK", 0x2000);
    guest.write("CR4_READ_SHADOW", 0);
    expect(guest.run()).toBe(EXIT_REASON.HLT);
    expect(guest.gpr(3)).toBe(0x20n);
    expect(guest.gpr(2)).toBe(0xa0n);
    expect(guest.read("GUEST_CR4")).toBe(0x20a0n);
  });

  it("let a CR3 target through", () => {
    const guest = new Guest().code(64, (a) => {
      a.mov(rax, cr3);
      a.mov(cr3, rax);
      a.hlt();
    });
    guest.set("CPU_BASED_VM_EXEC_CONTROL", CPU_BASED.CR3_LOAD_EXITING);
    guest.write("CR3_TARGET_COUNT", 2);
    guest.write("CR3_TARGET_VALUE1", guest.read("GUEST_CR3"));
    expect(guest.run()).toBe(EXIT_REASON.HLT);
  });

  it("refuse a bit that VMX operation fixes", () => {
    const guest = new Guest().code(64, (a) => {
      a.mov(rax, cr4);
      a.and(rax, ~0x2000);
      a.mov(cr4, rax);
      a.hlt();
    });
    guest.write("EXCEPTION_BITMAP", 1 << 13);
    expect(guest.run()).toBe(EXIT_REASON.EXCEPTION_NMI);
    expect(guest.read("VM_EXIT_INTR_INFO")).toBe(0x80000b0dn);
  });
});

describe("exceptions", () => {
  const UD = 0x80000306n;

  it("exit where the exception bitmap says so, at the instruction", () => {
    const guest = new Guest().code(64, (a) => {
      a.nop();
      a.ud2();
    });
    guest.write("EXCEPTION_BITMAP", 1 << 6);
    expect(guest.run()).toBe(EXIT_REASON.EXCEPTION_NMI);
    expect(guest.read("VM_EXIT_INTR_INFO")).toBe(UD);
    expect(guest.read("GUEST_RIP")).toBe(BigInt(CODE + 1));
  });

  it("go through the guest's IDT otherwise", () => {
    const guest = new Guest().code(64, (a) => {
      a.ud2();
    });
    expect(guest.run()).toBe(EXIT_REASON.HLT);
    expect(guest.read("GUEST_RIP")).toBe(BigInt(HANDLERS + 6));
    expect(guest.read("GUEST_RSP")).toBe(BigInt(STACK - 40));
  });

  it("of pages report the address, and obey the error-code mask and match", () => {
    const page = (mask: number, match: number, bit: boolean): Guest => {
      const guest = new Guest().code(64, (a) => {
        a.mov(rax, 0x7fff12345678n);
        a.mov(byte(rax), 1);
        a.hlt();
      });
      guest.write("EXCEPTION_BITMAP", bit ? 1 << 14 : 0);
      guest.write("PAGE_FAULT_ERROR_CODE_MASK", mask);
      guest.write("PAGE_FAULT_ERROR_CODE_MATCH", match);
      return guest;
    };
    const exits = page(0, 0, true);
    expect(exits.run()).toBe(EXIT_REASON.EXCEPTION_NMI);
    expect(exits.read("VM_EXIT_INTR_INFO")).toBe(0x80000b0en);
    expect(exits.read("VM_EXIT_INTR_ERROR_CODE")).toBe(2n);
    expect(exits.read("EXIT_QUALIFICATION")).toBe(0x7fff12345678n);
    // CR2 is the guest's own as long as the fault is not delivered.
    expect(exits.cpu.readCr(2)).toBe(0n);
    // Only reads (error code without W) are wanted: the write goes to the guest.
    const other = page(2, 0, true);
    expect(other.run()).toBe(EXIT_REASON.HLT);
    expect(other.cpu.readCr(2)).toBe(0x7fff12345678n);
    // And the other way round with the bit clear.
    expect(page(2, 0, false).run()).toBe(EXIT_REASON.EXCEPTION_NMI);
  });

  it("of INT3 exit as software exceptions with the length, INT n never does", () => {
    const int3 = new Guest().code(64, (a) => a.int3());
    int3.write("EXCEPTION_BITMAP", 1 << 3);
    expect(int3.run()).toBe(EXIT_REASON.EXCEPTION_NMI);
    expect(int3.read("VM_EXIT_INTR_INFO")).toBe(0x80000603n);
    expect(int3.read("VM_EXIT_INSTRUCTION_LEN")).toBe(1n);
    expect(int3.read("GUEST_RIP")).toBe(BigInt(CODE));
    const intN = new Guest().code(64, (a) => a.int(6));
    intN.write("EXCEPTION_BITMAP", 1 << 6);
    expect(intN.run()).toBe(EXIT_REASON.HLT);
    expect(intN.read("GUEST_RIP")).toBe(BigInt(HANDLERS + 6));
  });

  it("become a double fault, then a triple fault", () => {
    const guest = new Guest().code(64, (a) => a.ud2());
    guest.write("GUEST_IDTR_LIMIT", 0);
    expect(guest.run()).toBe(EXIT_REASON.TRIPLE_FAULT);
    expect(guest.read("IDT_VECTORING_INFO_FIELD")).toBe(0n);
    const double = new Guest().code(64, (a) => a.ud2());
    double.write("GUEST_IDTR_LIMIT", 0);
    double.write("EXCEPTION_BITMAP", 1 << 8);
    expect(double.run()).toBe(EXIT_REASON.EXCEPTION_NMI);
    expect(double.read("VM_EXIT_INTR_INFO")).toBe(0x80000b08n);
    expect(double.read("IDT_VECTORING_INFO_FIELD")).toBe(0n);
  });

  it("that end another event's delivery report that event", () => {
    const guest = new Guest().code(64, (a) => a.int(0x21));
    guest.write("GUEST_IDTR_LIMIT", 0x100);
    guest.write("EXCEPTION_BITMAP", 1 << 13);
    expect(guest.run()).toBe(EXIT_REASON.EXCEPTION_NMI);
    expect(guest.read("VM_EXIT_INTR_INFO")).toBe(0x80000b0dn);
    expect(guest.read("VM_EXIT_INTR_ERROR_CODE")).toBe(BigInt(0x21 * 8 + 2));
    expect(guest.read("IDT_VECTORING_INFO_FIELD")).toBe(0x80000421n);
    expect(guest.read("VM_EXIT_INSTRUCTION_LEN")).toBe(2n);
    expect(guest.read("GUEST_RIP")).toBe(BigInt(CODE));
  });
});

describe("EPT", () => {
  const touch = (write: (g: Guest) => void, code: (a: Assembler) => void): Guest => {
    const guest = new Guest().code(64, (a) => {
      code(a);
      a.hlt();
    });
    // Guest-physical 2 MiB and up have no entry yet; the guest's page table names it.
    guest.host.memory.writeU64(guest.at(0x3008), 0x200083n);
    write(guest);
    return guest;
  };
  const PD_ENTRY_1 = (g: Guest): number => {
    const { memory } = g.host;
    const pml4 = g.eptp & ~0xfff;
    const pdpt = memory.readU32(pml4) & ~0xfff;
    return (memory.readU32(pdpt) & ~0xfff) + 8;
  };
  const store = (a: Assembler): void => {
    a.mov(rax, 0x212345n);
    a.mov(byte(rax), 1);
  };

  it("reports a violation with both addresses and what was asked for", () => {
    const guest = touch(() => undefined, store);
    expect(guest.run()).toBe(EXIT_REASON.EPT_VIOLATION);
    expect(guest.read("EXIT_QUALIFICATION")).toBe(0x182n);
    expect(guest.read("GUEST_PHYSICAL_ADDRESS")).toBe(0x212345n);
    expect(guest.read("GUEST_LINEAR_ADDRESS")).toBe(0x212345n);
    expect(guest.read("GUEST_RIP")).toBe(BigInt(CODE + 7));
  });

  it("reports the rights that the entry has", () => {
    const guest = touch((g) => g.host.memory.writeU64(PD_ENTRY_1(g), 0x4000b5n), store);
    expect(guest.run()).toBe(EXIT_REASON.EPT_VIOLATION);
    expect(guest.read("EXIT_QUALIFICATION")).toBe(0x1aan);
  });

  it("reports a fetch", () => {
    const guest = touch(
      () => undefined,
      (a) => {
        a.mov(rax, 0x200000n);
        a.jmp(rax);
      },
    );
    expect(guest.run()).toBe(EXIT_REASON.EPT_VIOLATION);
    expect(guest.read("EXIT_QUALIFICATION")).toBe(0x184n);
    expect(guest.read("GUEST_RIP")).toBe(0x200000n);
  });

  it("reports a misconfiguration: writable without readable, and a reserved memory type", () => {
    for (const entry of [0x4000b2n, 0x400097n]) {
      const guest = touch((g) => g.host.memory.writeU64(PD_ENTRY_1(g), entry), store);
      expect(guest.run()).toBe(EXIT_REASON.EPT_MISCONFIG);
      expect(guest.read("GUEST_PHYSICAL_ADDRESS")).toBe(0x212345n);
    }
  });

  it("reports an access to a paging structure as such", () => {
    const guest = touch(
      (g) => g.host.memory.writeU64(g.at(0x2000), 0x300003n),
      (a) => a.nop(),
    );
    expect(guest.run()).toBe(EXIT_REASON.EPT_VIOLATION);
    expect(guest.read("EXIT_QUALIFICATION")).toBe(0x81n);
    expect(guest.read("GUEST_PHYSICAL_ADDRESS")).toBe(0x300000n);
    expect(guest.read("GUEST_LINEAR_ADDRESS")).toBe(BigInt(CODE));
  });

  it("sets accessed and dirty flags where the EPTP asks for them", () => {
    const flags = (eptp: number): bigint => {
      const guest = touch((g) => {
        g.host.memory.writeU64(PD_ENTRY_1(g), 0x4000b7n);
        g.write("EPT_POINTER", g.eptp | eptp);
      }, store);
      expect(guest.run()).toBe(EXIT_REASON.HLT);
      return guest.host.memory.readU64(PD_ENTRY_1(guest)) & 0x300n;
    };
    expect(flags(0x40)).toBe(0x300n);
    expect(flags(0)).toBe(0n);
  });

  it("keeps a translation until INVEPT", () => {
    const guest = new Guest().code(64, (a) => {
      a.label("again");
      store(a);
      a.cpuid();
      a.jmp("again");
    });
    guest.host.memory.writeU64(guest.at(0x3008), 0x200083n);
    guest.host.memory.writeU64(PD_ENTRY_1(guest), 0x4000b7n);
    guest.set("SECONDARY_VM_EXEC_CONTROL", SECONDARY_EXEC.ENABLE_VPID);
    guest.write("VIRTUAL_PROCESSOR_ID", 1);
    expect(guest.run()).toBe(EXIT_REASON.CPUID);
    guest.host.memory.writeU64(PD_ENTRY_1(guest), 0n);
    expect(guest.cpu.invept(2, 0)).toBe(0);
    guest.skip();
    expect(guest.run()).toBe(EXIT_REASON.EPT_VIOLATION);
  });
});

describe("interrupts of the host", () => {
  const spin = (): Guest =>
    new Guest().code(64, (a) => {
      a.label("again");
      a.jmp("again");
    });

  it("exit with the vector where the exit acknowledges it", () => {
    const guest = spin();
    guest.set("PIN_BASED_VM_EXEC_CONTROL", PIN_BASED.EXT_INTR_EXITING);
    guest.set("VM_EXIT_CONTROLS", VM_EXIT.ACK_INTR_ON_EXIT);
    guest.cpu.raiseInterrupt(0x40);
    guest.cpu.raiseInterrupt(0xfd);
    expect(guest.run()).toBe(EXIT_REASON.EXTERNAL_INTERRUPT);
    expect(guest.read("VM_EXIT_INTR_INFO")).toBe(0x800000fdn);
    expect(guest.cpu.acknowledgeInterrupt()).toBe(0x40);
    expect(guest.cpu.acknowledgeInterrupt()).toBe(-1);
  });

  it("stay pending without acknowledgement", () => {
    const guest = spin();
    guest.set("PIN_BASED_VM_EXEC_CONTROL", PIN_BASED.EXT_INTR_EXITING);
    guest.cpu.raiseInterrupt(0x40);
    expect(guest.run()).toBe(EXIT_REASON.EXTERNAL_INTERRUPT);
    expect(guest.read("VM_EXIT_INTR_INFO")).toBe(0n);
    expect(guest.cpu.interruptPending).toBe(true);
  });

  it("come from the local timer to the instruction", () => {
    const guest = spin();
    guest.set("PIN_BASED_VM_EXEC_CONTROL", PIN_BASED.EXT_INTR_EXITING);
    guest.set("VM_EXIT_CONTROLS", VM_EXIT.ACK_INTR_ON_EXIT);
    guest.cpu.setTimer(guest.cpu.tsc() + 12_345);
    const start = guest.cpu.tsc();
    expect(guest.run()).toBe(EXIT_REASON.EXTERNAL_INTERRUPT);
    expect(guest.read("VM_EXIT_INTR_INFO")).toBe(0x800000efn);
    expect(guest.cpu.tsc() - start).toBe(12_345);
  });

  it("exit for an NMI with NMI exiting", () => {
    const guest = spin();
    guest.set("PIN_BASED_VM_EXEC_CONTROL", PIN_BASED.NMI_EXITING);
    guest.cpu.raiseNmi();
    expect(guest.run()).toBe(EXIT_REASON.EXCEPTION_NMI);
    expect(guest.read("VM_EXIT_INTR_INFO")).toBe(0x80000202n);
  });

  it("reach the guest where nothing exits, once it lets them", () => {
    const guest = new Guest().code(64, (a) => {
      a.nop();
      a.sti();
      a.nop();
      a.label("again");
      a.jmp("again");
    });
    guest.cpu.raiseInterrupt(0x40);
    expect(guest.run()).toBe(EXIT_REASON.HLT);
    expect(guest.read("GUEST_RIP")).toBe(BigInt(HANDLERS + 0x40));
    // The interrupt came after the instruction that follows STI.
    const returned = guest.host.memory.readU64(guest.at(Number(guest.read("GUEST_RSP"))));
    expect(returned).toBe(BigInt(CODE + 3));
  });
});

describe("windows and timers", () => {
  it("interrupt window: exits before the first instruction that could be interrupted", () => {
    const guest = new Guest().code(64, (a) => {
      a.nop();
      a.sti();
      a.nop();
      a.hlt();
    });
    guest.set("CPU_BASED_VM_EXEC_CONTROL", CPU_BASED.INTERRUPT_WINDOW_EXITING);
    expect(guest.run()).toBe(EXIT_REASON.INTERRUPT_WINDOW);
    expect(guest.read("GUEST_RIP")).toBe(BigInt(CODE + 3));
  });

  it("interrupt window: POPF opens it too", () => {
    const guest = new Guest().code(64, (a) => {
      a.push(0x202);
      a.popfq();
      a.hlt();
    });
    guest.set("CPU_BASED_VM_EXEC_CONTROL", CPU_BASED.INTERRUPT_WINDOW_EXITING);
    expect(guest.run()).toBe(EXIT_REASON.INTERRUPT_WINDOW);
    expect(guest.read("GUEST_RIP")).toBe(BigInt(CODE + 6));
  });

  it("NMI window: exits once IRET has ended the blocking", () => {
    const guest = new Guest().code(64, (a) => {
      a.mov(rax, reg.rsp);
      a.push(0x10);
      a.push(rax);
      a.push(2);
      a.push(8);
      a.lea(rbx, mem("after"));
      a.push(rbx);
      a.iretq();
      a.label("after");
      a.hlt();
    });
    guest.set("PIN_BASED_VM_EXEC_CONTROL", PIN_BASED.NMI_EXITING | PIN_BASED.VIRTUAL_NMIS);
    guest.set("CPU_BASED_VM_EXEC_CONTROL", CPU_BASED.NMI_WINDOW_EXITING);
    guest.write("GUEST_INTERRUPTIBILITY_INFO", 8);
    expect(guest.run()).toBe(EXIT_REASON.NMI_WINDOW);
    expect(guest.read("GUEST_INTERRUPTIBILITY_INFO")).toBe(0n);
  });

  it("preemption timer: exits to the instruction, and saves what is left when something else comes first", () => {
    const guest = new Guest().code(64, (a) => {
      for (let i = 0; i < 50; i++) a.nop();
      a.cpuid();
      a.label("again");
      a.jmp("again");
    });
    guest.set("PIN_BASED_VM_EXEC_CONTROL", PIN_BASED.VMX_PREEMPTION_TIMER);
    guest.set("VM_EXIT_CONTROLS", VM_EXIT.SAVE_VMX_PREEMPTION_TIMER);
    guest.write("VMX_PREEMPTION_TIMER_VALUE", 30);
    expect(guest.run()).toBe(EXIT_REASON.PREEMPTION_TIMER);
    expect(guest.read("GUEST_RIP")).toBe(BigInt(CODE + 30));
    expect(guest.read("VMX_PREEMPTION_TIMER_VALUE")).toBe(0n);
    guest.write("VMX_PREEMPTION_TIMER_VALUE", 1000);
    expect(guest.run()).toBe(EXIT_REASON.CPUID);
    expect(guest.read("VMX_PREEMPTION_TIMER_VALUE")).toBe(980n);
  });

  it("preemption timer: 0 exits before the first instruction", () => {
    const guest = new Guest().code(64, (a) => a.hlt());
    guest.set("PIN_BASED_VM_EXEC_CONTROL", PIN_BASED.VMX_PREEMPTION_TIMER);
    expect(guest.run()).toBe(EXIT_REASON.PREEMPTION_TIMER);
    expect(guest.read("GUEST_RIP")).toBe(BigInt(CODE));
  });

  it("monitor trap flag: exits after each instruction", () => {
    const guest = new Guest().code(64, (a) => {
      a.nop();
      a.nop();
      a.hlt();
    });
    guest.set("CPU_BASED_VM_EXEC_CONTROL", CPU_BASED.MONITOR_TRAP_FLAG);
    expect(guest.run()).toBe(EXIT_REASON.MONITOR_TRAP_FLAG);
    expect(guest.read("GUEST_RIP")).toBe(BigInt(CODE + 1));
    expect(guest.run()).toBe(EXIT_REASON.MONITOR_TRAP_FLAG);
    expect(guest.read("GUEST_RIP")).toBe(BigInt(CODE + 2));
  });

  it("PAUSE-loop: exits once a loop has spun longer than the window", () => {
    const guest = new Guest().code(64, (a) => {
      a.label("again");
      a.pause();
      a.jmp("again");
    });
    guest.set("SECONDARY_VM_EXEC_CONTROL", SECONDARY_EXEC.PAUSE_LOOP_EXITING);
    guest.write("PLE_GAP", 128);
    guest.write("PLE_WINDOW", 4096);
    const start = guest.cpu.tsc();
    expect(guest.run()).toBe(EXIT_REASON.PAUSE_INSTRUCTION);
    expect(guest.cpu.tsc() - start).toBeGreaterThan(4096);
  });
});
