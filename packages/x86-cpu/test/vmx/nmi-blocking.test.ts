import { EXIT_REASON, PIN_BASED, reg } from "@tapvisor/x86-isa";
import { describe, expect, it } from "vitest";
import { Guest, HANDLERS } from "./guest.js";

const { rsp } = reg;

const BLOCKING_BY_NMI = 8n;
const UNBLOCKING = 1n << 12n;
const GP = 13;
/** Linear address that no page is at, and one that EPT does not map. */
const UNMAPPED = 0x4000_0000n;
const NOT_IN_EPT = 0x201000n;

/** A guest in an NMI handler whose IRETQ takes its frame from `stack`. */
function returning(stack: bigint, pin: number = PIN_BASED.NMI_EXITING | PIN_BASED.VIRTUAL_NMIS): Guest {
  const guest = new Guest().code(64, (a) => {
    a.mov(rsp, stack);
    a.iretq();
  });
  guest.host.memory.writeU64(guest.at(0x3008), 0x200083n);
  if (pin !== 0) guest.set("PIN_BASED_VM_EXEC_CONTROL", pin);
  guest.write("GUEST_INTERRUPTIBILITY_INFO", BLOCKING_BY_NMI);
  return guest;
}

const blocked = (guest: Guest): boolean => (guest.read("GUEST_INTERRUPTIBILITY_INFO") & BLOCKING_BY_NMI) !== 0n;

/** SDM vol. 3, "Handling Multiple NMIs", "Information for VM Exits Due to Vectored Events". */
describe("blocking by NMI", () => {
  it("ends with an IRET that faults, and the exit tells of it", () => {
    const guest = returning(UNMAPPED);
    guest.write("EXCEPTION_BITMAP", 1 << 14);
    expect(guest.run()).toBe(EXIT_REASON.EXCEPTION_NMI);
    expect(guest.read("VM_EXIT_INTR_INFO") & UNBLOCKING).toBe(UNBLOCKING);
    expect(blocked(guest)).toBe(false);
  });

  it("ends with an IRET that meets an EPT violation, and the exit tells of it", () => {
    const guest = returning(NOT_IN_EPT);
    expect(guest.run()).toBe(EXIT_REASON.EPT_VIOLATION);
    expect(guest.read("EXIT_QUALIFICATION") & UNBLOCKING).toBe(UNBLOCKING);
    expect(blocked(guest)).toBe(false);
  });

  it("ends with an IRET whose fault the guest takes", () => {
    const guest = returning(0x7000n);
    expect(guest.run()).toBe(EXIT_REASON.HLT);
    expect(guest.read("GUEST_RIP")).toBe(BigInt(HANDLERS + GP));
    expect(blocked(guest)).toBe(false);
    expect(guest.read("VM_EXIT_INTR_INFO")).toBe(0n);
  });

  it("of which no exit tells that another instruction causes", () => {
    const guest = new Guest().code(64, (a) => a.mov(rsp, UNMAPPED).pop(reg.rax));
    guest.set("PIN_BASED_VM_EXEC_CONTROL", PIN_BASED.NMI_EXITING | PIN_BASED.VIRTUAL_NMIS);
    guest.write("GUEST_INTERRUPTIBILITY_INFO", BLOCKING_BY_NMI);
    guest.write("EXCEPTION_BITMAP", 1 << 14);
    expect(guest.run()).toBe(EXIT_REASON.EXCEPTION_NMI);
    expect(guest.read("VM_EXIT_INTR_INFO") & UNBLOCKING).toBe(0n);
    expect(blocked(guest)).toBe(true);
  });

  it("of which no exit tells where there was none", () => {
    const guest = returning(UNMAPPED);
    guest.write("GUEST_INTERRUPTIBILITY_INFO", 0);
    guest.write("EXCEPTION_BITMAP", 1 << 14);
    expect(guest.run()).toBe(EXIT_REASON.EXCEPTION_NMI);
    expect(guest.read("VM_EXIT_INTR_INFO") & UNBLOCKING).toBe(0n);
  });

  it.each([
    ["ends with IRET without NMI exiting", 0, false],
    ["outlives IRET with NMI exiting and no virtual NMIs", PIN_BASED.NMI_EXITING, true],
    ["ends with IRET with virtual NMIs", PIN_BASED.NMI_EXITING | PIN_BASED.VIRTUAL_NMIS, false],
  ] as const)("%s", (_, pin, stays) => {
    const guest = returning(0x6800n, pin);
    const { memory } = guest.host;
    [BigInt(HANDLERS), 8n, 2n, 0x7000n, 0x10n].forEach((word, n) => memory.writeU64(guest.at(0x6800 + n * 8), word));
    expect(guest.run()).toBe(EXIT_REASON.HLT);
    expect(blocked(guest)).toBe(stays);
  });

  it("is left to the hypervisor by an IRET that switches tasks", () => {
    const guest = new Guest("protected").code(32, (a) => a.iretd());
    guest.set("PIN_BASED_VM_EXEC_CONTROL", PIN_BASED.NMI_EXITING | PIN_BASED.VIRTUAL_NMIS);
    guest.write("GUEST_INTERRUPTIBILITY_INFO", BLOCKING_BY_NMI);
    guest.write("GUEST_RFLAGS", 0x4002);
    // The link of the TSS names a busy TSS: itself.
    guest.host.memory.writeU32(guest.at(0x6000), 0x20);
    expect(guest.run()).toBe(EXIT_REASON.TASK_SWITCH);
    expect(guest.read("EXIT_QUALIFICATION")).toBe(0x4000_0020n);
    expect(blocked(guest)).toBe(true);
  });

  it("keeps an NMI of the host waiting, which is taken after IRET", () => {
    const guest = returning(0x6800n, 0);
    const { memory } = guest.host;
    [BigInt(HANDLERS), 8n, 2n, 0x7000n, 0x10n].forEach((word, n) => memory.writeU64(guest.at(0x6800 + n * 8), word));
    guest.cpu.raiseNmi();
    expect(guest.run()).toBe(EXIT_REASON.HLT);
    expect(guest.read("GUEST_RIP")).toBe(BigInt(HANDLERS + 2));
  });
});
