import { EXIT_REASON, SECONDARY_EXEC, byte, reg, type Assembler } from "@tapvisor/x86-isa";
import { describe, expect, it } from "vitest";
import { CODE, Guest } from "./guest.js";

const { rax } = reg;
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
