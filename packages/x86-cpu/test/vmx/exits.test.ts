import { EXIT_REASON, reg } from "@tapvisor/x86-isa";
import { describe, expect, it } from "vitest";
import { CODE, Guest } from "./guest.js";

describe("a guest under VT-x", () => {
  it("exits for CPUID with its length, and halts where it is told to", () => {
    const guest = new Guest().code(64, (a) => {
      a.mov(reg.rax, 0x1122334455667788n);
      a.cpuid();
      a.hlt();
    });
    expect(guest.run()).toBe(EXIT_REASON.CPUID);
    expect(guest.read("GUEST_RIP")).toBe(BigInt(CODE + 10));
    expect(guest.read("VM_EXIT_INSTRUCTION_LEN")).toBe(2n);
    expect(guest.gpr(0)).toBe(0x1122334455667788n);
    guest.skip();
    expect(guest.run()).toBe(EXIT_REASON.HLT);
  });
});
