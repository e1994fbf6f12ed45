import { EXIT_REASON, VECTOR } from "@tapvisor/x86-isa";
import { describe, expect, it } from "vitest";
import { GDT, Guest, IDT } from "./guest.js";

const AM = 0x4_0000n;
const AC = 0x4_0002n;
const CONFORMING = 0x28;

describe("an exception whose delivery meets the same benign exception", () => {
  it("ends in a shutdown instead of going on for ever", () => {
    const guest = new Guest("protected");
    guest.code(32, (a) => a.db(0xa1).dd(1));
    guest.host.memory.writeU64(guest.at(GDT + CONFORMING), 0x00cf9f000000ffffn);
    // #AC stays at CPL 3, where pushing its frame on a stack that is not aligned is an #AC again.
    guest.host.memory.writeU64(guest.at(IDT + VECTOR.AC * 8), 0x00008e0000289000n);
    for (const name of ["ES", "SS", "DS", "FS", "GS"] as const) guest.write(`GUEST_${name}_AR_BYTES`, 0xc0f3);
    guest.write("GUEST_CS_AR_BYTES", 0xc0fb);
    guest.write("GUEST_CS_SELECTOR", 0x1b);
    guest.write("GUEST_SS_SELECTOR", 0x13);
    guest.write("GUEST_CR0", guest.read("GUEST_CR0") | AM);
    guest.write("GUEST_RFLAGS", AC);
    guest.write("GUEST_RSP", 0x7001);
    expect(guest.run()).toBe(EXIT_REASON.TRIPLE_FAULT);
  });
});
