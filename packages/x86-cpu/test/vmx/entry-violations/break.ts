import { SECONDARY_EXEC } from "@tapvisor/x86-isa";
import type { Guest, Mode } from "../guest.js";

/** How to break one rule: the mode of the guest (long unless named) and what to write. */
export type Break = ((g: Guest) => void) | { readonly mode: Mode; readonly write: (g: Guest) => void };

export const INTR = (type: number, vector: number, more = 0): number =>
  (0x80000000 | (type << 8) | vector | more) >>> 0;
export const CODE = 0x800;
export const NOT_CANONICAL = 0x8000_0000_0000n;
export const PAST_PHYSICAL = 1n << 46n;

/** A restricted guest: protected mode with paging, without unrestricted guest. */
export const restricted = (g: Guest): void => g.clear("SECONDARY_VM_EXEC_CONTROL", SECONDARY_EXEC.UNRESTRICTED_GUEST);

/** Virtual-8086 mode under 32-bit paging. */
export const v86 = (g: Guest): void => {
  g.write("GUEST_RFLAGS", 0x20002);
  for (const name of ["CS", "SS", "DS", "ES", "FS", "GS"] as const) {
    g.write(`GUEST_${name}_SELECTOR`, 0x100);
    g.write(`GUEST_${name}_BASE`, 0x1000);
    g.write(`GUEST_${name}_LIMIT`, 0xffff);
    g.write(`GUEST_${name}_AR_BYTES`, 0xf3);
  }
};

export const prot = (write: (g: Guest) => void): Break => ({ mode: "protected", write });
