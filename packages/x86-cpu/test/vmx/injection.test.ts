import {
  CPU_BASED,
  EXIT_REASON,
  EXIT_REASON_ENTRY_FAILURE,
  MSR,
  PIN_BASED,
  VM_ENTRY,
  VM_EXIT,
  reg,
} from "@tapvisor/x86-isa";
import { describe, expect, it } from "vitest";
import { VmxAbort } from "../../src/index.js";
import { CODE, Guest, HANDLERS, STACK } from "./guest.js";

const info = (type: number, vector: number, errorCode = false): number =>
  (0x80000000 | (type << 8) | vector | (errorCode ? 0x800 : 0)) >>> 0;
const EXTERNAL = 0;
const NMI = 2;
const EXCEPTION = 3;
const SOFTWARE = 4;
const SOFTWARE_EXCEPTION = 6;
const OTHER = 7;

const halting = (): Guest =>
  new Guest().code(64, (a) => {
    a.nop();
    a.nop();
    a.hlt();
  });

/** The guest's stack frame: what was pushed, lowest address first. */
const frame = (guest: Guest, words: number): bigint[] => {
  const rsp = Number(guest.read("GUEST_RSP"));
  return Array.from({ length: words }, (_, n) => guest.host.memory.readU64(guest.at(rsp + n * 8)));
};

describe("event injection", () => {
  it("delivers an external interrupt through the guest's IDT and clears the valid bit", () => {
    const guest = halting();
    guest.write("GUEST_RFLAGS", 0x202);
    guest.write("VM_ENTRY_INTR_INFO_FIELD", info(EXTERNAL, 0x30));
    expect(guest.run()).toBe(EXIT_REASON.HLT);
    expect(guest.read("GUEST_RIP")).toBe(BigInt(HANDLERS + 0x30));
    expect(frame(guest, 5)).toEqual([BigInt(CODE), 8n, 0x202n, BigInt(STACK), 0x10n]);
    expect(guest.read("VM_ENTRY_INTR_INFO_FIELD")).toBe(BigInt(info(EXTERNAL, 0x30) & 0x7fffffff));
    expect(guest.read("IDT_VECTORING_INFO_FIELD")).toBe(0n);
  });

  it("pushes the error code of an exception, and leaves CR2 and DR6 alone", () => {
    const guest = halting();
    guest.write("VM_ENTRY_INTR_INFO_FIELD", info(EXCEPTION, 14, true));
    guest.write("VM_ENTRY_EXCEPTION_ERROR_CODE", 7);
    guest.cpu.writeCr(2, 0x1234n);
    expect(guest.run()).toBe(EXIT_REASON.HLT);
    expect(frame(guest, 2)).toEqual([7n, BigInt(CODE)]);
    expect(guest.cpu.readCr(2)).toBe(0x1234n);
  });

  it("returns past a software interrupt by the instruction length", () => {
    const guest = halting();
    guest.write("VM_ENTRY_INTR_INFO_FIELD", info(SOFTWARE, 0x80));
    guest.write("VM_ENTRY_INSTRUCTION_LEN", 2);
    expect(guest.run()).toBe(EXIT_REASON.HLT);
    expect(frame(guest, 1)).toEqual([BigInt(CODE + 2)]);
  });

  it("blocks NMIs once it has delivered one", () => {
    const guest = halting();
    guest.write("VM_ENTRY_INTR_INFO_FIELD", info(NMI, 2));
    expect(guest.run()).toBe(EXIT_REASON.HLT);
    expect(guest.read("GUEST_RIP")).toBe(BigInt(HANDLERS + 2));
    expect(guest.read("GUEST_INTERRUPTIBILITY_INFO")).toBe(8n);
  });

  it("blocks no NMIs where they exit and IRET would not end it", () => {
    const guest = halting();
    guest.set("PIN_BASED_VM_EXEC_CONTROL", PIN_BASED.NMI_EXITING);
    guest.write("VM_ENTRY_INTR_INFO_FIELD", info(NMI, 2));
    expect(guest.run()).toBe(EXIT_REASON.HLT);
    expect(guest.read("GUEST_INTERRUPTIBILITY_INFO")).toBe(0n);
  });

  it("wakes a halted guest", () => {
    const guest = halting();
    guest.write("GUEST_ACTIVITY_STATE", 1);
    guest.write("GUEST_RFLAGS", 0x202);
    guest.write("VM_ENTRY_INTR_INFO_FIELD", info(EXTERNAL, 0x30));
    expect(guest.run()).toBe(EXIT_REASON.HLT);
    expect(guest.read("GUEST_ACTIVITY_STATE")).toBe(0n);
    expect(guest.read("GUEST_RIP")).toBe(BigInt(HANDLERS + 0x30));
  });

  it("is not subject to the exception bitmap, but what its delivery meets is", () => {
    const through = halting();
    through.write("EXCEPTION_BITMAP", 0xffffffff);
    through.write("VM_ENTRY_INTR_INFO_FIELD", info(EXCEPTION, 6));
    expect(through.run()).toBe(EXIT_REASON.HLT);
    const meets = halting();
    meets.write("EXCEPTION_BITMAP", 0xffffffff);
    meets.write("GUEST_IDTR_LIMIT", 15);
    meets.write("VM_ENTRY_INTR_INFO_FIELD", info(EXCEPTION, 6));
    expect(meets.run()).toBe(EXIT_REASON.EXCEPTION_NMI);
    expect(meets.read("VM_EXIT_INTR_INFO")).toBe(0x80000b0dn);
    expect(meets.read("IDT_VECTORING_INFO_FIELD")).toBe(BigInt(info(EXCEPTION, 6)));
    expect(meets.read("GUEST_RIP")).toBe(BigInt(CODE));
  });

  it("that meets an EPT violation reports the event, with its error code and length", () => {
    const guest = halting();
    // The stack is in guest-physical memory that EPT does not map.
    guest.host.memory.writeU64(guest.at(0x3008), 0x200083n);
    guest.write("GUEST_RSP", 0x201000);
    guest.write("VM_ENTRY_INTR_INFO_FIELD", info(SOFTWARE_EXCEPTION, 3));
    guest.write("VM_ENTRY_INSTRUCTION_LEN", 1);
    expect(guest.run()).toBe(EXIT_REASON.EPT_VIOLATION);
    expect(guest.read("IDT_VECTORING_INFO_FIELD")).toBe(BigInt(info(SOFTWARE_EXCEPTION, 3)));
    expect(guest.read("VM_EXIT_INSTRUCTION_LEN")).toBe(1n);
    expect(guest.read("GUEST_RIP")).toBe(BigInt(CODE));
    expect(guest.read("GUEST_RSP")).toBe(0x201000n);
  });

  it("of a contributory exception into another one is a double fault, without reporting the first", () => {
    const guest = halting();
    guest.write("EXCEPTION_BITMAP", 1 << 8);
    guest.write("GUEST_IDTR_LIMIT", 15);
    guest.write("VM_ENTRY_INTR_INFO_FIELD", info(EXCEPTION, 13, true));
    expect(guest.run()).toBe(EXIT_REASON.EXCEPTION_NMI);
    expect(guest.read("VM_EXIT_INTR_INFO")).toBe(0x80000b08n);
    expect(guest.read("VM_EXIT_INTR_ERROR_CODE")).toBe(0n);
    expect(guest.read("IDT_VECTORING_INFO_FIELD")).toBe(0n);
  });

  it("of a pending MTF exits before the first instruction", () => {
    const guest = halting();
    guest.write("VM_ENTRY_INTR_INFO_FIELD", info(OTHER, 0));
    expect(guest.run()).toBe(EXIT_REASON.MONITOR_TRAP_FLAG);
    expect(guest.read("GUEST_RIP")).toBe(BigInt(CODE));
  });

  it("with the monitor trap flag exits before the handler's first instruction", () => {
    const guest = halting();
    guest.set("CPU_BASED_VM_EXEC_CONTROL", CPU_BASED.MONITOR_TRAP_FLAG);
    guest.write("VM_ENTRY_INTR_INFO_FIELD", info(EXCEPTION, 6));
    expect(guest.run()).toBe(EXIT_REASON.MONITOR_TRAP_FLAG);
    expect(guest.read("GUEST_RIP")).toBe(BigInt(HANDLERS + 6));
  });

  it("goes through the interrupt vector table in real mode", () => {
    const guest = new Guest("real").code(16, (a) => a.hlt());
    guest.host.memory.writeU32(guest.at(0x21 * 4), 0x0050_0123);
    guest.put(0x623, new Uint8Array([0xf4]));
    guest.write("GUEST_RFLAGS", 0x202);
    guest.write("VM_ENTRY_INTR_INFO_FIELD", info(EXTERNAL, 0x21));
    expect(guest.run()).toBe(EXIT_REASON.HLT);
    expect(guest.read("GUEST_CS_SELECTOR")).toBe(0x50n);
    expect(guest.read("GUEST_RIP")).toBe(0x123n);
    expect(guest.read("GUEST_RSP")).toBe(BigInt(STACK - 6));
  });
});

describe("pending debug exceptions", () => {
  it("are delivered after an entry without injection", () => {
    const guest = halting();
    guest.write("EXCEPTION_BITMAP", 2);
    guest.write("GUEST_PENDING_DBG_EXCEPTIONS", 0x4000);
    expect(guest.run()).toBe(EXIT_REASON.EXCEPTION_NMI);
    expect(guest.read("VM_EXIT_INTR_INFO")).toBe(0x80000301n);
    expect(guest.read("EXIT_QUALIFICATION")).toBe(0x4000n);
    expect(guest.read("GUEST_RIP")).toBe(BigInt(CODE));
  });

  it("are gone after the injection of an interrupt", () => {
    const guest = halting();
    guest.write("EXCEPTION_BITMAP", 2);
    guest.write("GUEST_RFLAGS", 0x202);
    guest.write("GUEST_PENDING_DBG_EXCEPTIONS", 0x4000);
    guest.write("VM_ENTRY_INTR_INFO_FIELD", info(EXTERNAL, 0x30));
    expect(guest.run()).toBe(EXIT_REASON.HLT);
  });

  it("single-step reaches the guest with BS in DR6", () => {
    const guest = halting();
    guest.write("GUEST_RFLAGS", 0x102);
    expect(guest.run()).toBe(EXIT_REASON.HLT);
    expect(guest.read("GUEST_RIP")).toBe(BigInt(HANDLERS + 1));
    expect(frame(guest, 1)).toEqual([BigInt(CODE + 1)]);
    expect(guest.cpu.readDr(6)).toBe(0xffff4ff0n);
  });
});

describe("MSR lists", () => {
  const list = (guest: Guest, entries: readonly (readonly [index: number, value: bigint])[]): number => {
    const page = guest.host.memory.allocatePage();
    entries.forEach(([index, value], n) => {
      guest.host.memory.writeU32(page + n * 16, index);
      guest.host.memory.writeU64(page + n * 16 + 8, value);
    });
    return page;
  };

  it("are loaded for the guest, stored and loaded for the host", () => {
    const guest = new Guest().code(64, (a) => {
      a.swapgs();
      a.hlt();
    });
    guest.write(
      "VM_ENTRY_MSR_LOAD_ADDR",
      list(guest, [
        [MSR.IA32_KERNEL_GS_BASE, 0x111n],
        [MSR.IA32_LSTAR, 0x222n],
      ]),
    );
    guest.write("VM_ENTRY_MSR_LOAD_COUNT", 2);
    const store = list(guest, [
      [MSR.IA32_KERNEL_GS_BASE, 0n],
      [MSR.IA32_LSTAR, 0n],
    ]);
    guest.write("VM_EXIT_MSR_STORE_ADDR", store);
    guest.write("VM_EXIT_MSR_STORE_COUNT", 2);
    guest.write("VM_EXIT_MSR_LOAD_ADDR", list(guest, [[MSR.IA32_LSTAR, 0x333n]]));
    guest.write("VM_EXIT_MSR_LOAD_COUNT", 1);
    guest.write("GUEST_GS_BASE", 0x444);
    expect(guest.run()).toBe(EXIT_REASON.HLT);
    expect(guest.read("GUEST_GS_BASE")).toBe(0x111n);
    expect(guest.host.memory.readU64(store + 8)).toBe(0x444n);
    expect(guest.host.memory.readU64(store + 24)).toBe(0x222n);
    expect(guest.cpu.rdmsr(MSR.IA32_LSTAR)).toBe(0x333n);
  });

  it.each([
    ["an MSR that has a field of its own", MSR.IA32_FS_BASE, 0n],
    ["an x2APIC register", 0x808, 0n],
    ["an MSR that does not exist", 0x12345, 0n],
    ["a value that WRMSR refuses", MSR.IA32_LSTAR, 0x8000_0000_0000n],
  ])("fail the entry, naming the entry of %s", (_, index, value) => {
    const guest = halting();
    guest.write(
      "VM_ENTRY_MSR_LOAD_ADDR",
      list(guest, [
        [MSR.IA32_LSTAR, 0n],
        [index, value],
      ]),
    );
    guest.write("VM_ENTRY_MSR_LOAD_COUNT", 2);
    expect(guest.run()).toBe((EXIT_REASON_ENTRY_FAILURE | EXIT_REASON.MSR_LOAD_FAIL) >>> 0);
    expect(guest.read("EXIT_QUALIFICATION")).toBe(2n);
  });

  it("abort VMX operation where the host's cannot be loaded", () => {
    const guest = halting();
    guest.write("VM_EXIT_MSR_LOAD_ADDR", list(guest, [[0x12345, 0n]]));
    guest.write("VM_EXIT_MSR_LOAD_COUNT", 1);
    expect(() => guest.run()).toThrow(VmxAbort);
    expect(guest.host.memory.readU32(guest.vmcs + 4)).toBe(4);
  });
});

describe("the switch of worlds", () => {
  it("loads host state, and gives the guest's back", () => {
    const guest = halting();
    guest.write("HOST_GS_BASE", 0xffff_8880_0000_1000n);
    guest.write("HOST_IA32_SYSENTER_EIP", 0xffff_ffff_8100_2000n);
    guest.cpu.writeDr(7, 0x455n);
    expect(guest.run()).toBe(EXIT_REASON.HLT);
    expect(guest.cpu.rdmsr(MSR.IA32_GS_BASE)).toBe(0xffff_8880_0000_1000n);
    expect(guest.cpu.rdmsr(MSR.IA32_SYSENTER_EIP)).toBe(0xffff_ffff_8100_2000n);
    expect(guest.cpu.readDr(7)).toBe(0x400n);
    expect(guest.cpu.readSegment("idtr").limit).toBe(0xffff);
    expect(guest.cpu.rdmsr(MSR.IA32_EFER) & 0x500n).toBe(0x500n);
  });

  it("saves IA32_EFER and IA32_PAT where the controls ask for it", () => {
    const guest = new Guest().code(64, (a) => {
      a.mov(reg.ecx, MSR.IA32_EFER);
      a.mov(reg.eax, 0xd01);
      a.mov(reg.edx, 0);
      a.wrmsr();
      a.hlt();
    });
    guest.set("CPU_BASED_VM_EXEC_CONTROL", CPU_BASED.USE_MSR_BITMAPS);
    guest.write("MSR_BITMAP", guest.host.memory.allocatePage());
    guest.set("VM_ENTRY_CONTROLS", VM_ENTRY.LOAD_IA32_EFER | VM_ENTRY.LOAD_IA32_PAT);
    guest.set(
      "VM_EXIT_CONTROLS",
      VM_EXIT.SAVE_IA32_EFER | VM_EXIT.LOAD_IA32_EFER | VM_EXIT.SAVE_IA32_PAT | VM_EXIT.LOAD_IA32_PAT,
    );
    guest.write("GUEST_IA32_EFER", 0x500);
    guest.write("GUEST_IA32_PAT", 0x0606n);
    guest.write("HOST_IA32_EFER", 0xd01);
    guest.write("HOST_IA32_PAT", 0x0007040600070406n);
    expect(guest.run()).toBe(EXIT_REASON.HLT);
    expect(guest.read("GUEST_IA32_EFER")).toBe(0xd01n);
    expect(guest.read("GUEST_IA32_PAT")).toBe(0x0606n);
    expect(guest.cpu.rdmsr(MSR.IA32_PAT)).toBe(0x0007040600070406n);
  });

  it("lets an unrestricted guest turn paging on", () => {
    const guest = new Guest("protected").code(32, (a) => {
      // Paging of 32 bits over pages of 4 MiB, with the identity page directory at 0x3000 rewritten below.
      a.mov(reg.eax, reg.cr4);
      a.or(reg.eax, 0x10);
      a.mov(reg.cr4, reg.eax);
      a.mov(reg.eax, 0x3000);
      a.mov(reg.cr3, reg.eax);
      a.mov(reg.eax, reg.cr0);
      a.or(reg.eax, 0x80000000);
      a.mov(reg.cr0, reg.eax);
      a.hlt();
    });
    guest.host.memory.writeU32(guest.at(0x3000), 0x83);
    // Otherwise the guest has IA32_EFER of root mode, and with it LME.
    guest.set("VM_ENTRY_CONTROLS", VM_ENTRY.LOAD_IA32_EFER);
    expect(guest.run()).toBe(EXIT_REASON.HLT);
    expect(guest.read("GUEST_CR0") >> 31n).toBe(1n);
    expect(guest.read("VM_ENTRY_CONTROLS") & BigInt(VM_ENTRY.IA32E_MODE)).toBe(0n);
  });

  it("fails the entry for a reserved bit in a PDPTE of a guest with PAE paging", () => {
    const guest = new Guest("protected").code(32, (a) => a.hlt());
    guest.write("GUEST_CR0", 0x80000031n);
    guest.write("GUEST_CR4", 0x2020);
    guest.write("GUEST_PDPTR1", 0x1003);
    expect(guest.run()).toBe((EXIT_REASON_ENTRY_FAILURE | EXIT_REASON.INVALID_GUEST_STATE) >>> 0);
    expect(guest.read("EXIT_QUALIFICATION")).toBe(2n);
    guest.write("GUEST_PDPTR1", 0);
    guest.write("GUEST_PDPTR0", 0x3001);
    expect(guest.run()).toBe(EXIT_REASON.HLT);
    expect(guest.read("GUEST_PDPTR0")).toBe(0x3001n);
  });

  it("is charged for an intercepted instruction, and for nothing else", () => {
    const cpuid = new Guest().code(64, (a) => a.cpuid());
    const start = cpuid.cpu.tsc();
    cpuid.run();
    expect(cpuid.cpu.tsc() - start).toBe(1500);
    const violation = new Guest().code(64, (a) => a.jmp(0x300000n));
    violation.host.memory.writeU64(violation.at(0x3008), 0x200083n);
    const before = violation.cpu.tsc();
    expect(violation.run()).toBe(EXIT_REASON.EPT_VIOLATION);
    expect(violation.cpu.tsc() - before).toBe(1);
    expect(violation.cpu.retired).toBe(1);
  });

  it("adds the TSC offset to RDTSC and to RDMSR of the counter", () => {
    const guest = new Guest().code(64, (a) => {
      a.rdtsc();
      a.mov(reg.ebx, reg.eax);
      a.hlt();
    });
    guest.set("CPU_BASED_VM_EXEC_CONTROL", CPU_BASED.USE_TSC_OFFSETTING);
    guest.write("TSC_OFFSET", -1000n & 0xffffffffffffffffn);
    guest.host.clock.charge(5000);
    expect(guest.run()).toBe(EXIT_REASON.HLT);
    expect(guest.gpr(3)).toBe(4000n);
  });

  it("waits in HLT for the host's timer where HLT does not exit", () => {
    const guest = halting();
    guest.clear("CPU_BASED_VM_EXEC_CONTROL", CPU_BASED.HLT_EXITING);
    guest.set("PIN_BASED_VM_EXEC_CONTROL", PIN_BASED.EXT_INTR_EXITING);
    guest.cpu.setTimer(1_000_000);
    expect(guest.run()).toBe(EXIT_REASON.EXTERNAL_INTERRUPT);
    expect(guest.cpu.tsc()).toBe(1_000_000);
    expect(guest.read("GUEST_ACTIVITY_STATE")).toBe(1n);
    expect(guest.read("GUEST_RIP")).toBe(BigInt(CODE + 3));
  });
});
