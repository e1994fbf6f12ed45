import {
  PAGE_OFFSET_MASK,
  SEGMENT_RIGHTS,
  SEGMENT_RIGHTS_DPL_SHIFT,
  SEGMENT_TYPE,
  SELECTOR,
  SYSTEM_DESCRIPTOR,
} from "@tapvisor/x86-isa";
import { F } from "../fields.js";
import { FIELD_KIND } from "../vmcs-layout.js";
import type { Checked, EntryCheck } from "./checked.js";

const READS = FIELD_KIND.GUEST | FIELD_KIND.CONTROL | FIELD_KIND.FLAGS;
const SECTION = "Checks on Guest Segment Registers";

const { RPL, TI } = SELECTOR;
const V86_RIGHTS = 0xf3;
const V86_LIMIT = 0xffff;
/** Rights bits that are always clear: 11:8 and 31:17. */
const RESERVED_RIGHTS = 0xfffe0f00;

const R = SEGMENT_RIGHTS;
const CODE = SEGMENT_TYPE.CODE;
/** Accessed, writable, expand-up data: what CS may be in an unrestricted guest. */
const DATA_RW_ACCESSED = 3;
const DATA_RW_DOWN_ACCESSED = 7;
const CONFORMING_CODE_FIRST = 12;
const CONFORMING_CODE_ACCESSED = [13, 15];
const CODE_ACCESSED = [9, 11];

type Name = "CS" | "SS" | "DS" | "ES" | "FS" | "GS" | "TR" | "LDTR";

const CODE_AND_DATA = ["CS", "SS", "DS", "ES", "FS", "GS"] as const;
const DATA = ["DS", "ES", "FS", "GS"] as const;

const selector = (c: Checked, name: Name): number => c.low(F[`GUEST_${name}_SELECTOR`]);
const rights = (c: Checked, name: Name): number => c.low(F[`GUEST_${name}_AR_BYTES`]);
const limit = (c: Checked, name: Name): number => c.low(F[`GUEST_${name}_LIMIT`]);
const type = (c: Checked, name: Name): number => rights(c, name) & R.TYPE;
const dpl = (c: Checked, name: Name): number => (rights(c, name) & R.DPL) >> SEGMENT_RIGHTS_DPL_SHIFT;
const rpl = (c: Checked, name: Name): number => selector(c, name) & RPL;
/** CS always counts as usable. */
const usable = (c: Checked, name: Name): boolean => name === "CS" || (rights(c, name) & R.UNUSABLE) === 0;

const row = (rule: string, violated: (c: Checked) => boolean): EntryCheck => ({
  section: SECTION,
  rule,
  reads: READS,
  violated,
});

/** A rule of protected mode for one register, as far as it is usable. */
const usableRow = (name: Name, rule: string, violated: (c: Checked) => boolean): EntryCheck =>
  row(`${name}: ${rule}`, (c) => !c.v86 && usable(c, name) && violated(c));

function badGranularity(c: Checked, name: Name): boolean {
  const granular = (rights(c, name) & R.G) !== 0;
  const bytes = limit(c, name);
  return ((bytes & PAGE_OFFSET_MASK) !== PAGE_OFFSET_MASK && granular) || (bytes >>> 20 !== 0 && !granular);
}

const selectors: readonly EntryCheck[] = [
  row("TR: the selector names the GDT", (c) => (selector(c, "TR") & TI) !== 0),
  row(
    "LDTR: the selector of a usable LDTR names the GDT",
    (c) => usable(c, "LDTR") && (selector(c, "LDTR") & TI) !== 0,
  ),
  row(
    "SS: RPL equals that of CS, but in virtual-8086 mode or an unrestricted guest",
    (c) => !c.v86 && !c.unrestricted && rpl(c, "SS") !== rpl(c, "CS"),
  ),
];

const bases: readonly EntryCheck[] = [
  ...CODE_AND_DATA.map((name) =>
    row(`${name}: in virtual-8086 mode the base is the selector times 16`, (c) => {
      const base = F[`GUEST_${name}_BASE`];
      return c.v86 && (c.low(base) !== selector(c, name) * 16 || c.high(base) !== 0);
    }),
  ),
  ...(["TR", "FS", "GS"] as const).map((name) =>
    row(`${name}: the base is canonical`, (c) => c.notCanonical(F[`GUEST_${name}_BASE`])),
  ),
  row("LDTR: the base of a usable LDTR is canonical", (c) => usable(c, "LDTR") && c.notCanonical(F.GUEST_LDTR_BASE)),
  ...(["CS", "SS", "DS", "ES"] as const).map((name) =>
    row(`${name}: the base has 32 bits`, (c) => usable(c, name) && c.high(F[`GUEST_${name}_BASE`]) !== 0),
  ),
];

const virtual8086: readonly EntryCheck[] = CODE_AND_DATA.flatMap((name) => [
  row(`${name}: in virtual-8086 mode the limit is 0xffff`, (c) => c.v86 && limit(c, name) !== V86_LIMIT),
  row(`${name}: in virtual-8086 mode the rights are 0xf3`, (c) => c.v86 && rights(c, name) !== V86_RIGHTS),
]);

const types: readonly EntryCheck[] = [
  usableRow("CS", "it is accessed code, or accessed writable data in an unrestricted guest", (c) => {
    const t = type(c, "CS");
    const code = CODE_ACCESSED.includes(t) || CONFORMING_CODE_ACCESSED.includes(t);
    return !code && !(c.unrestricted && t === DATA_RW_ACCESSED);
  }),
  usableRow("SS", "it is accessed writable data", (c) => {
    const t = type(c, "SS");
    return t !== DATA_RW_ACCESSED && t !== DATA_RW_DOWN_ACCESSED;
  }),
  ...DATA.flatMap((name) => [
    usableRow(name, "it is accessed", (c) => (type(c, name) & SEGMENT_TYPE.ACCESSED) === 0),
    usableRow(name, "code is readable", (c) => (type(c, name) & (CODE | SEGMENT_TYPE.READABLE)) === CODE),
  ]),
];

const privileges: readonly EntryCheck[] = [
  usableRow("CS", "DPL is 0 where it is data", (c) => type(c, "CS") === DATA_RW_ACCESSED && dpl(c, "CS") !== 0),
  usableRow(
    "CS",
    "DPL of nonconforming code equals that of SS",
    (c) => CODE_ACCESSED.includes(type(c, "CS")) && dpl(c, "CS") !== dpl(c, "SS"),
  ),
  usableRow(
    "CS",
    "DPL of conforming code is at most that of SS",
    (c) => CONFORMING_CODE_ACCESSED.includes(type(c, "CS")) && dpl(c, "CS") > dpl(c, "SS"),
  ),
  row(
    "SS: DPL equals RPL, but in an unrestricted guest",
    (c) => !c.v86 && !c.unrestricted && dpl(c, "SS") !== rpl(c, "SS"),
  ),
  row(
    "SS: DPL is 0 where CS is data or the guest is in real-address mode",
    (c) => !c.v86 && (type(c, "CS") === DATA_RW_ACCESSED || !c.protectedMode) && dpl(c, "SS") !== 0,
  ),
  ...DATA.map((name) =>
    usableRow(
      name,
      "DPL of data or nonconforming code is at least RPL, but in an unrestricted guest",
      (c) => !c.unrestricted && type(c, name) < CONFORMING_CODE_FIRST && dpl(c, name) < rpl(c, name),
    ),
  ),
];

const rightsOfAll: readonly EntryCheck[] = [
  ...CODE_AND_DATA.flatMap((name) => [
    usableRow(name, "it is code or data", (c) => (rights(c, name) & R.S) === 0),
    usableRow(name, "it is present", (c) => (rights(c, name) & R.P) === 0),
    usableRow(name, "reserved bits of the rights are clear", (c) => (rights(c, name) & RESERVED_RIGHTS) !== 0),
    usableRow(name, "G fits the limit", (c) => badGranularity(c, name)),
  ]),
  usableRow("CS", "D/B is clear in 64-bit code", (c) => c.ia32e && (rights(c, "CS") & (R.L | R.DB)) === (R.L | R.DB)),
];

const system: readonly EntryCheck[] = [
  row("TR: it is a busy TSS, of 64 bits in IA-32e mode", (c) => {
    const t = type(c, "TR");
    return t !== SYSTEM_DESCRIPTOR.TSS_BUSY && (c.ia32e || t !== SYSTEM_DESCRIPTOR.TSS16_BUSY);
  }),
  row("TR: it is a system segment", (c) => (rights(c, "TR") & R.S) !== 0),
  row("TR: it is present", (c) => (rights(c, "TR") & R.P) === 0),
  row("TR: reserved bits of the rights are clear", (c) => (rights(c, "TR") & RESERVED_RIGHTS) !== 0),
  row("TR: G fits the limit", (c) => badGranularity(c, "TR")),
  row("TR: it is usable", (c) => !usable(c, "TR")),
  row("LDTR: it is an LDT", (c) => usable(c, "LDTR") && type(c, "LDTR") !== SYSTEM_DESCRIPTOR.LDT),
  row("LDTR: it is a system segment", (c) => usable(c, "LDTR") && (rights(c, "LDTR") & R.S) !== 0),
  row("LDTR: it is present", (c) => usable(c, "LDTR") && (rights(c, "LDTR") & R.P) === 0),
  row(
    "LDTR: reserved bits of the rights are clear",
    (c) => usable(c, "LDTR") && (rights(c, "LDTR") & RESERVED_RIGHTS) !== 0,
  ),
  row("LDTR: G fits the limit", (c) => usable(c, "LDTR") && badGranularity(c, "LDTR")),
];

/** Rules on the segment registers (SDM vol. 3, "Checks on Guest Segment Registers"). */
export const SEGMENT_CHECKS: readonly EntryCheck[] = [
  ...selectors,
  ...bases,
  ...virtual8086,
  ...types,
  ...rightsOfAll,
  ...privileges,
  ...system,
];
