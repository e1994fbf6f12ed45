import { EPT, EXIT_REASON, INVEPT_TYPE, dword, reg } from "@tapvisor/x86-isa";
import { describe, expect, it } from "vitest";
import { Guest } from "./guest.js";

const { eax, rbx } = reg;
const PAGE = 0x200000;
/** Host memory that nothing else uses. */
const MOVED = 0x800000;

/** A guest that reads the first word of its second megabyte over and over, and exits after each time. */
function reader(): { guest: Guest; read: () => number; entry: number } {
  const guest = new Guest().code(64, (a) => {
    a.mov(rbx, 0x100000).label("again").mov(eax, dword(rbx)).cpuid().jmp("again");
  });
  const table = Number(guest.eptp & ~0xfff);
  const { memory } = guest.host;
  const next = (at: number): number => memory.readU32(at) & ~0xfff;
  return {
    guest,
    entry: next(next(table)),
    read: () => {
      expect(guest.run()).toBe(EXIT_REASON.CPUID);
      const value = Number(guest.gpr(0));
      guest.skip();
      return value;
    },
  };
}

describe("translations of guest-physical addresses", () => {
  it("follow an entry that has changed once INVEPT is executed", () => {
    const { guest, read, entry } = reader();
    const { memory } = guest.host;
    // The same code and tables at the new place, with another word to read.
    memory.view(MOVED, PAGE).set(memory.view(guest.at(0), PAGE));
    memory.written(MOVED, PAGE);
    memory.writeU32(guest.at(0x100000), 1);
    memory.writeU32(MOVED + 0x100000, 2);
    expect(read()).toBe(1);
    memory.writeU32(entry, (MOVED | EPT.RWX | EPT.LARGE_PAGE | (6 << 3)) >>> 0);
    guest.cpu.invept(INVEPT_TYPE.ALL_CONTEXT, 0);
    expect(read()).toBe(2);
  });

  it("are found again after a violation, with the rights that the entry has by then", () => {
    const { guest, read, entry } = reader();
    const { memory } = guest.host;
    memory.writeU32(guest.at(0x100000), 7);
    expect(read()).toBe(7);
    const mapped = memory.readU32(entry);
    memory.writeU32(entry, 0);
    guest.cpu.invept(INVEPT_TYPE.ALL_CONTEXT, 0);
    expect(guest.run()).toBe(EXIT_REASON.EPT_VIOLATION);
    // No INVEPT: what does not exist is not cached.
    memory.writeU32(entry, mapped);
    expect(read()).toBe(7);
  });
});
