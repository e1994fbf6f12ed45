import { CPU_BASED, EXIT_REASON, reg } from "@tapvisor/x86-isa";
import { describe, expect, it } from "vitest";
import { Guest } from "./guest.js";

const { rax, rbx, rcx, rdx, cr3, cr4 } = reg;
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
