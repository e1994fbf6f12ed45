import { CR0, EXIT_REASON, RFLAGS, byte, dword, mem, qword, reg, word, type Assembler } from "@tapvisor/x86-isa";
import { describe, expect, it } from "vitest";
import { Guest } from "./guest.js";

const { rax, eax, ax, al, rbx, rsi, rdi, rcx } = reg;

const PAGE = 0x10000;
const AC = 17;

interface Conditions {
  readonly user?: boolean;
  readonly mask?: boolean;
  readonly flag?: boolean;
}

/** A guest at CPL 3, or not, whose accesses are checked for alignment where all three conditions hold. */
function guestOf(write: (a: Assembler) => void, { user = true, mask = true, flag = true }: Conditions = {}): Guest {
  const guest = new Guest().code(64, (a) => {
    a.mov(rbx, BigInt(PAGE));
    write(a);
    a.cpuid();
  });
  const { memory } = guest.host;
  for (const entry of [0x1000, 0x2000, 0x3000]) memory.writeU64(guest.at(entry), memory.readU64(guest.at(entry)) | 4n);
  if (user) {
    guest.write("GUEST_CS_AR_BYTES", 0xa0fb);
    guest.write("GUEST_CS_SELECTOR", 0xb);
    for (const name of ["SS", "DS", "ES", "FS", "GS"] as const) {
      guest.write(`GUEST_${name}_AR_BYTES`, 0xc0f3);
      guest.write(`GUEST_${name}_SELECTOR`, 0x13);
    }
  }
  if (mask) guest.write("GUEST_CR0", guest.read("GUEST_CR0") | CR0.AM);
  if (flag) guest.write("GUEST_RFLAGS", 2n | RFLAGS.AC);
  guest.write("EXCEPTION_BITMAP", 0xffffffff);
  return guest;
}

/** The vector of the exception that the code meets; undefined if it meets none. */
function met(guest: Guest): number | undefined {
  const reason = guest.run();
  if (reason === EXIT_REASON.CPUID) return undefined;
  expect(reason).toBe(EXIT_REASON.EXCEPTION_NMI);
  const vector = Number(guest.read("VM_EXIT_INTR_INFO") & 0xffn);
  if (vector === AC) expect(guest.read("VM_EXIT_INTR_ERROR_CODE")).toBe(0n);
  return vector;
}

/** SDM vol. 3, "Alignment Check Exception (#AC)". */
describe("#AC", () => {
  it.each<[string, (a: Assembler) => void, number | undefined]>([
    ["a word at an odd address", (a) => a.mov(ax, word(rbx, 1)), AC],
    ["a word at an even address", (a) => a.mov(ax, word(rbx, 2)), undefined],
    ["a doubleword at a multiple of 2", (a) => a.mov(dword(rbx, 2), eax), AC],
    ["a doubleword at a multiple of 4", (a) => a.mov(dword(rbx, 4), eax), undefined],
    ["a quadword at a multiple of 4", (a) => a.mov(rax, qword(rbx, 4)), AC],
    ["a quadword at a multiple of 8", (a) => a.mov(rax, qword(rbx, 8)), undefined],
    ["a byte", (a) => a.mov(al, byte(rbx, 1)), undefined],
    ["a read-modify-write", (a) => a.add(dword(rbx, 1), 1), AC],
    ["an aligned read-modify-write", (a) => a.add(dword(rbx), 1), undefined],
    ["a push", (a) => a.mov(reg.rsp, BigInt(PAGE + 0x101)).push(rax), AC],
    [
      "a string instruction",
      (a) =>
        a
          .mov(rsi, BigInt(PAGE))
          .mov(rdi, BigInt(PAGE + 0x102))
          .mov(rcx, 4n)
          .rep()
          .movsd(),
      AC,
    ],
    ["an access that crosses into another page", (a) => a.mov(eax, dword(rbx, 0xffe)), AC],
    ["an address that is only computed", (a) => a.lea(rax, mem(rbx, 1)), undefined],
  ])("is met by %s as its operand's size says", (_, code, vector) => {
    expect(met(guestOf(code))).toBe(vector);
  });

  it.each<[string, Conditions]>([
    ["below CPL 3", { user: false }],
    ["without CR0.AM", { mask: false }],
    ["without RFLAGS.AC", { flag: false }],
  ])("is not met %s", (_, conditions) => {
    expect(met(guestOf((a) => a.mov(eax, dword(rbx, 1)), conditions))).toBeUndefined();
  });

  it("begins with the POPF that sets AC, also where the page is known already", () => {
    const guest = guestOf(
      (a) => {
        a.mov(eax, dword(rbx, 1));
        a.push(2n | RFLAGS.AC)
          .popfq()
          .mov(eax, dword(rbx, 1));
      },
      { flag: false },
    );
    expect(met(guest)).toBe(AC);
  });

  it("comes after the page fault of the same access", () => {
    expect(met(guestOf((a) => a.mov(rbx, 0x4000_0000n).mov(eax, dword(rbx, 1))))).toBe(14);
  });

  it("leaves what the processor itself reads and writes alone", () => {
    // INT3 through the IDT: the frame of CPL 0 is the processor's.
    const guest = guestOf((a) => a.int3());
    guest.write("EXCEPTION_BITMAP", (0xffffffff & ~(1 << 3)) >>> 0);
    guest.host.memory.writeU64(guest.at(0x6004), 0x7001n);
    guest.host.memory.writeU32(guest.at(0x5000 + 3 * 16 + 4), 0xee00);
    expect(guest.run()).toBe(EXIT_REASON.HLT);
  });
});
