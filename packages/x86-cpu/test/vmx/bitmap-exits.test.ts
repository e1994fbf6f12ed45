import { CPU_BASED, EXIT_REASON, reg } from "@tapvisor/x86-isa";
import { describe, expect, it } from "vitest";
import { Guest } from "./guest.js";

const { ax, dx } = reg;
const BITMAP_PAGE = (g: Guest): number => g.host.memory.allocatePage();

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
