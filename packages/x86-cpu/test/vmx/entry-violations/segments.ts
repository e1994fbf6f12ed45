import { SELECTOR, type Guest } from "../guest.js";
import { NOT_CANONICAL, restricted, v86, prot, type Break } from "./break.js";

/** Segment rules that are alike for several registers. */
const eachSegment = (): Record<string, Break> => {
  const rules: Record<string, Break> = {};
  for (const name of ["CS", "SS", "DS", "ES", "FS", "GS"] as const) {
    rules[`${name}: in virtual-8086 mode the base is the selector times 16`] = prot((g) => {
      v86(g);
      g.write(`GUEST_${name}_BASE`, 0x2000);
    });
    rules[`${name}: in virtual-8086 mode the limit is 0xffff`] = prot((g) => {
      v86(g);
      g.write(`GUEST_${name}_LIMIT`, 0xfffff);
    });
    rules[`${name}: in virtual-8086 mode the rights are 0xf3`] = prot((g) => {
      v86(g);
      g.write(`GUEST_${name}_AR_BYTES`, 0x93);
    });
    rules[`${name}: it is code or data`] = (g) => g.clear(`GUEST_${name}_AR_BYTES`, 0x10);
    rules[`${name}: it is present`] = (g) => g.clear(`GUEST_${name}_AR_BYTES`, 0x80);
    rules[`${name}: reserved bits of the rights are clear`] = (g) => g.set(`GUEST_${name}_AR_BYTES`, 0x100);
    rules[`${name}: G fits the limit`] = (g) => g.write(`GUEST_${name}_LIMIT`, 0xfffffff0);
  }
  for (const name of ["TR", "FS", "GS"] as const) {
    rules[`${name}: the base is canonical`] = (g) => g.write(`GUEST_${name}_BASE`, NOT_CANONICAL);
  }
  for (const name of ["CS", "SS", "DS", "ES"] as const) {
    rules[`${name}: the base has 32 bits`] = (g) => g.write(`GUEST_${name}_BASE`, 1n << 32n);
  }
  for (const name of ["DS", "ES", "FS", "GS"] as const) {
    rules[`${name}: it is accessed`] = (g) => g.write(`GUEST_${name}_AR_BYTES`, 0xc092);
    rules[`${name}: code is readable`] = (g) => g.write(`GUEST_${name}_AR_BYTES`, 0xc099);
    rules[`${name}: DPL of data or nonconforming code is at least RPL, but in an unrestricted guest`] = (g) => {
      restricted(g);
      g.write(`GUEST_${name}_SELECTOR`, SELECTOR.DATA | 3);
    };
  }
  return rules;
};

const ldtr =
  (rights: number): ((g: Guest) => void) =>
  (g) => {
    g.write("GUEST_LDTR_SELECTOR", 0x28);
    g.write("GUEST_LDTR_AR_BYTES", rights);
  };

export const SEGMENTS: Readonly<Record<string, Break>> = {
  ...eachSegment(),
  "TR: the selector names the GDT": (g) => g.write("GUEST_TR_SELECTOR", 0x24),
  "LDTR: the selector of a usable LDTR names the GDT": (g) => {
    ldtr(0x82)(g);
    g.write("GUEST_LDTR_SELECTOR", 0x2c);
  },
  "SS: RPL equals that of CS, but in virtual-8086 mode or an unrestricted guest": (g) => {
    restricted(g);
    g.write("GUEST_CS_SELECTOR", SELECTOR.CODE64 | 1);
  },
  "LDTR: the base of a usable LDTR is canonical": (g) => {
    ldtr(0x82)(g);
    g.write("GUEST_LDTR_BASE", NOT_CANONICAL);
  },
  "CS: it is accessed code, or accessed writable data in an unrestricted guest": (g) =>
    g.write("GUEST_CS_AR_BYTES", 0xa09a),
  "SS: it is accessed writable data": (g) => g.write("GUEST_SS_AR_BYTES", 0xc091),
  "CS: D/B is clear in 64-bit code": (g) => g.write("GUEST_CS_AR_BYTES", 0xe09b),
  "CS: DPL is 0 where it is data": { mode: "real", write: (g) => g.write("GUEST_CS_AR_BYTES", 0xf3) },
  "CS: DPL of nonconforming code equals that of SS": (g) => g.write("GUEST_CS_AR_BYTES", 0xa0fb),
  "CS: DPL of conforming code is at most that of SS": (g) => g.write("GUEST_CS_AR_BYTES", 0xa0ff),
  "SS: DPL equals RPL, but in an unrestricted guest": (g) => {
    restricted(g);
    g.write("GUEST_CS_SELECTOR", SELECTOR.CODE64 | 3);
    g.write("GUEST_SS_SELECTOR", SELECTOR.DATA | 3);
  },
  "SS: DPL is 0 where CS is data or the guest is in real-address mode": {
    mode: "real",
    write: (g) => {
      g.write("GUEST_CS_AR_BYTES", 0x9f);
      g.write("GUEST_SS_AR_BYTES", 0xf3);
    },
  },
  "TR: it is a busy TSS, of 64 bits in IA-32e mode": (g) => g.write("GUEST_TR_AR_BYTES", 0x83),
  "TR: it is a system segment": (g) => g.write("GUEST_TR_AR_BYTES", 0x9b),
  "TR: it is present": (g) => g.write("GUEST_TR_AR_BYTES", 0xb),
  "TR: reserved bits of the rights are clear": (g) => g.write("GUEST_TR_AR_BYTES", 0x18b),
  "TR: G fits the limit": (g) => g.write("GUEST_TR_AR_BYTES", 0x808b),
  "TR: it is usable": (g) => g.write("GUEST_TR_AR_BYTES", 0x1008b),
  "LDTR: it is an LDT": ldtr(0x83),
  "LDTR: it is a system segment": ldtr(0x92),
  "LDTR: it is present": ldtr(0x2),
  "LDTR: reserved bits of the rights are clear": ldtr(0x182),
  "LDTR: G fits the limit": ldtr(0x8082),
};
