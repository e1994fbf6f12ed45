import { EXIT_REASON } from "@tapvisor/x86-isa";
import { describe, expect, it } from "vitest";
import { PIN_BASED, VM_EXIT } from "@tapvisor/x86-isa";
import { CODE, Guest, type Mode } from "./guest.js";

const CODE_BYTES = 0x1000;
const EXITS = 500;

/** A guest of random bytes, put back on its feet after each exit. Returns what it came to. */
function run(mode: Mode, seed: number): string {
  let state = seed;
  const random = (): number => (state = (Math.imul(state, 1664525) + 1013904223) >>> 0);
  const guest = new Guest(mode);
  const fresh = new Guest(mode);
  const bytes = Uint8Array.from({ length: CODE_BYTES }, () => random() >>> 24);
  guest.set("PIN_BASED_VM_EXEC_CONTROL", PIN_BASED.EXT_INTR_EXITING | PIN_BASED.NMI_EXITING);
  guest.set("VM_EXIT_CONTROLS", VM_EXIT.ACK_INTR_ON_EXIT);
  const restored = [
    "GUEST_CR0", "GUEST_CR3", "GUEST_CR4", "GUEST_RSP", "GUEST_RFLAGS", "GUEST_INTERRUPTIBILITY_INFO",
    "GUEST_ACTIVITY_STATE", "GUEST_PENDING_DBG_EXCEPTIONS", "GUEST_DR7", "GUEST_IDTR_BASE", "GUEST_IDTR_LIMIT",
    "GUEST_GDTR_BASE", "GUEST_GDTR_LIMIT", "VM_ENTRY_CONTROLS",
    ...(["CS", "SS", "DS", "ES", "FS", "GS", "TR", "LDTR"] as const).flatMap((name) => [
      `GUEST_${name}_SELECTOR` as const, `GUEST_${name}_BASE` as const, `GUEST_${name}_LIMIT` as const,
      `GUEST_${name}_AR_BYTES` as const,
    ]),
  ] as const; // prettier-ignore
  const reasons = new Map<number, number>();
  let digest = 0;
  for (let n = 0; n < EXITS; n++) {
    guest.put(CODE, bytes);
    for (const field of restored) guest.write(field, fresh.read(field));
    guest.write("GUEST_RIP", CODE + (random() % CODE_BYTES));
    guest.write("EXCEPTION_BITMAP", random());
    guest.cpu.setTimer(guest.cpu.tsc() + 500);
    const reason = guest.run();
    reasons.set(reason, (reasons.get(reason) ?? 0) + 1);
    for (let i = 0; i < 32; i++) digest = (Math.imul(digest, 31) + (guest.cpu.gprs[i] as number)) >>> 0;
  }
  expect([...reasons.keys()].filter((reason) => reason >= 0x80000000)).toEqual([]);
  expect(reasons.get(EXIT_REASON.EXCEPTION_NMI)).toBeGreaterThan(0);
  return `${digest} ${guest.cpu.retired} ${[...reasons].sort(([a], [b]) => a - b).join(" ")}`;
}

describe("a guest of random bytes", () => {
  it.each(["long", "protected", "real"] as const)(
    "always ends in a VM exit, and comes to the same twice, in %s mode",
    (mode) => {
      expect(run(mode, 1)).toBe(run(mode, 1));
    },
  );
});
