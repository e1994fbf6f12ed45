import { EXIT_REASON, byte, reg } from "@tapvisor/x86-isa";
import { describe, expect, it } from "vitest";
import { CODE, Guest, HANDLERS, STACK } from "./guest.js";

const { rax } = reg;
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
