import type { Rng } from "../../../packages/x86-isa/test/vectors/rng.js";
import { RAM_BYTES } from "./rig.js";

/** Where a guest's memory has what; physical addresses, and linear ones where paging maps them as they are. */
export const AT = {
  IVT: 0,
  GDT: 0x1000,
  IDT: 0x2000,
  TSS: 0x4000,
  LDT: 0x5000,
  STACKS: 0x6000,
  CODE: 0x1_0000,
  DATA: 0x2_0000,
  /** Page tables, which nothing maps: what a guest does there has no order that two engines would have to share. */
  TABLES: 0x8_0000,
} as const;

export const CODE_BYTES = 0x4000;
export const DATA_BYTES = 0x4000;
const STACK_BYTES = 0x4000;
const PAGE = 0x1000;
/** Pages that paging maps. */
const MAPPED_PAGES = AT.TABLES / PAGE;

/** Forms of paging. */
export type Paging = "none" | "32-bit" | "pae" | "4-level";

const P = 1n;
const RW = 2n;
const US = 4n;
const PS = 0x80n;
const NX = 1n << 63n;

/** Selectors of the GDT, by what they name. */
export const SELECTOR = {
  CODE64: 0x08, DATA: 0x10, CODE32: 0x18, CODE16: 0x20, TSS: 0x28, USER32: 0x38, USER_DATA: 0x40, USER64: 0x48,
  USER16: 0x50, LDT: 0x58, CONFORMING: 0x68, EXPAND_DOWN: 0x70, ABSENT: 0x78, DATA16: 0x80, GATES: 0x88,
} as const; // prettier-ignore

export const GDT_LIMIT = 0x9f;

const segment = (access: number, flags: number): bigint =>
  0xffffn | (BigInt(access) << 40n) | (0xfn << 48n) | (BigInt(flags) << 52n);

/** 16-bit code of 64 KiB, the guest's code at its start. */
const segment16 = (access: number): bigint =>
  0xffffn | (BigInt(AT.CODE & 0xffff) << 16n) | (BigInt(AT.CODE >> 16) << 32n) | (BigInt(access) << 40n);

const systemSegment = (type: number, base: number, limit: number): bigint =>
  BigInt(limit) | (BigInt(base) << 16n) | (BigInt(type) << 40n);

/** A call gate's or interrupt gate's first eight bytes. */
const gate = (selector: number, offset: number, access: number, low: number): bigint =>
  BigInt(offset & 0xffff) |
  (BigInt(selector) << 16n) |
  (BigInt(low) << 32n) |
  (BigInt(access) << 40n) |
  (BigInt(offset >>> 16) << 48n);

/** An offset in the code of a selector. */
const anywhere = (rng: Rng, selector: number): number =>
  (selector === SELECTOR.CODE16 || selector === SELECTOR.USER16 ? 0 : AT.CODE) + rng.below(CODE_BYTES);

function writeGdt(rng: Rng, view: DataView, long: boolean): void {
  const put = (selector: number, value: bigint): void => {
    view.setBigUint64(AT.GDT + selector, value, true);
  };
  put(SELECTOR.CODE64, segment(0x9b, 0xa));
  put(SELECTOR.DATA, segment(0x93, 0xc));
  put(SELECTOR.CODE32, segment(0x9b, 0xc));
  put(SELECTOR.CODE16, segment16(0x9b));
  put(SELECTOR.TSS, systemSegment(long || rng.chance(7, 8) ? 0x8b : 0x83, AT.TSS, 0xfff));
  put(SELECTOR.USER32, segment(0xfb, 0xc));
  put(SELECTOR.USER_DATA, segment(0xf3, 0xc));
  put(SELECTOR.USER64, segment(0xfb, 0xa));
  put(SELECTOR.USER16, segment16(0xfb));
  put(SELECTOR.LDT, systemSegment(0x82, AT.LDT, 0x7f));
  put(SELECTOR.CONFORMING, segment(0x9f, long ? 0xa : 0xc));
  put(SELECTOR.EXPAND_DOWN, segment(0x97, 0xc) & ~0xffffn);
  put(SELECTOR.ABSENT, segment(0x13, 0xc));
  put(SELECTOR.DATA16, segment(0xf3, 0));
  const code = long ? SELECTOR.CODE64 : rng.pick([SELECTOR.CODE32, SELECTOR.CODE16]);
  put(SELECTOR.GATES, gate(code, anywhere(rng, code), rng.pick([0x8c, 0xec, 0xec, 0xe4]), rng.below(4)));
  if (!long) put(SELECTOR.GATES + 8, gate(SELECTOR.TSS, 0, 0xe5, 0));
  for (let n = 0; n < 16; n++) {
    const access = rng.pick([0x93, 0xf3, 0xfb, 0x9b, 0xf1, rng.below(256)]);
    view.setBigUint64(AT.LDT + n * 8, segment(access, rng.below(16)) & ~(rng.chance(1, 4) ? 0xffffn : 0n), true);
  }
}

function writeIdt(rng: Rng, view: DataView, long: boolean): void {
  const size = long ? 16 : 8;
  for (let vector = 0; vector < 256; vector++) {
    const at = AT.IDT + vector * size;
    const selector = long
      ? rng.pick([SELECTOR.CODE64, SELECTOR.CODE64, SELECTOR.CODE64, SELECTOR.CONFORMING])
      : rng.pick([SELECTOR.CODE32, SELECTOR.CODE32, SELECTOR.CODE16, SELECTOR.CONFORMING]);
    const type = rng.pick(long ? [0xe, 0xf] : [0xe, 0xf, 0xe, 6, 7]);
    const dpl = rng.chance(1, 2) ? 0x60 : 0;
    let value = gate(selector, anywhere(rng, selector), 0x80 | dpl | type, long ? rng.pick([0, 0, 0, 1, 2]) : 0);
    if (rng.chance(1, 64)) value ^= 1n << BigInt(rng.below(64));
    view.setBigUint64(at, value, true);
    if (long) view.setBigUint64(at + 8, rng.chance(1, 64) ? 1n << BigInt(rng.below(64)) : 0n, true);
  }
}

function writeTss(rng: Rng, view: DataView, long: boolean): void {
  const stack = (): number => AT.STACKS + 0x400 + rng.below(STACK_BYTES - 0x400) * 1;
  if (long) {
    for (let at = 4; at < 0x5c; at += 8)
      view.setBigUint64(AT.TSS + at, BigInt(stack() & (rng.chance(1, 8) ? ~0 : ~7)), true);
  } else {
    for (const at of [4, 12, 20]) {
      view.setUint32(AT.TSS + at, stack(), true);
      view.setUint16(AT.TSS + at + 4, at === 4 ? SELECTOR.DATA : rng.pick([SELECTOR.DATA, SELECTOR.DATA | 1]), true);
    }
  }
  view.setUint16(AT.TSS + 0x66, rng.pick([0x68, 0x88, 0xfff]), true);
  for (let n = 0x68; n < 0x100; n += 4) view.setUint32(AT.TSS + n, rng.chance(1, 2) ? 0 : rng.u32(), true);
}

/** Bits of an entry besides its address: mostly present, writable and of the user. */
function attributes(rng: Rng, user: boolean, leaf: boolean, noExecute: boolean): bigint {
  let bits = P | RW | US;
  if (rng.chance(1, 20)) bits &= ~P;
  if (rng.chance(1, 12)) bits &= ~RW;
  if (rng.chance(1, user ? 16 : 3)) bits &= ~US;
  // Write-through, cache disable, accessed, dirty, global, available.
  bits |= BigInt(rng.u32() & 0xe38) | (leaf ? BigInt(rng.u32() & 0x140) : 0n);
  if (noExecute && rng.chance(1, leaf ? 8 : 40)) bits |= NX;
  return bits;
}

/** A bit that is reserved in the entry, now and then. */
const reserved = (rng: Rng, from: number, to: number): bigint =>
  rng.chance(1, 50) ? 1n << BigInt(from + rng.below(to - from)) : 0n;

/** Paging structures of 64-bit entries, from the tables of pages up. Returns the physical address of the directory. */
function writeDirectory(rng: Rng, view: DataView, user: boolean, noExecute: boolean): number {
  const [table, directory] = [AT.TABLES, AT.TABLES + PAGE];
  for (let n = 0; n < 512; n++) {
    const page = n < MAPPED_PAGES && rng.chance(7, 8) ? n : rng.below(MAPPED_PAGES);
    const critical = n < AT.DATA / PAGE && rng.chance(7, 8);
    const bits = critical ? P | RW | (user ? US : 0n) | 0x20n : attributes(rng, user, true, noExecute);
    view.setBigUint64(table + n * 8, BigInt(page * PAGE) | bits | (critical ? 0n : reserved(rng, 46, 52)), true);
  }
  for (let n = 0; n < 512; n++) {
    const large = rng.chance(1, 2);
    let entry = attributes(rng, user, large, noExecute) | reserved(rng, 46, 52);
    if (n === 0) entry = BigInt(table) | P | RW | US;
    else if (large) entry |= PS | reserved(rng, 13, 21);
    else entry = (entry & ~PS) | BigInt(table);
    view.setBigUint64(directory + n * 8, entry, true);
  }
  return directory;
}

/** Paging structures in memory; returns CR3. */
function writePaging(rng: Rng, view: DataView, paging: Paging, user: boolean, noExecute: boolean): number {
  if (paging === "none") return 0;
  if (paging === "32-bit") {
    const [table, directory] = [AT.TABLES, AT.TABLES + PAGE];
    for (let n = 0; n < 1024; n++) {
      const page = n < MAPPED_PAGES && rng.chance(7, 8) ? n : rng.below(MAPPED_PAGES);
      const critical = n < AT.DATA / PAGE && rng.chance(7, 8);
      const bits = critical ? P | RW | (user ? US : 0n) : attributes(rng, user, true, false);
      view.setUint32(table + n * 4, page * PAGE + Number(bits), true);
      const large = rng.chance(1, 2);
      const flags = Number(attributes(rng, user, large, false)) & ~0x80;
      const entry = large ? flags | 0x80 | Number(reserved(rng, 13, 22)) : flags | table;
      view.setUint32(directory + n * 4, n === 0 ? table | 7 : entry, true);
    }
    return directory;
  }
  const directory = writeDirectory(rng, view, user, noExecute);
  const pointers = AT.TABLES + 2 * PAGE;
  if (paging === "pae") {
    for (let n = 0; n < 4; n++)
      view.setBigUint64(pointers + n * 8, n === 0 || rng.chance(3, 4) ? BigInt(directory) | P : 0n, true);
    return pointers;
  }
  const root = AT.TABLES + 3 * PAGE;
  for (let n = 0; n < 512; n++) {
    const large = rng.chance(1, 3);
    let entry = attributes(rng, user, large, noExecute) | reserved(rng, 46, 52);
    if (large) entry |= PS | reserved(rng, 13, 30);
    else entry = (entry & ~PS) | BigInt(directory);
    view.setBigUint64(pointers + n * 8, n === 0 ? BigInt(directory) | 7n : entry, true);
    const upper = (attributes(rng, user, false, noExecute) & ~PS) | BigInt(pointers) | reserved(rng, 46, 52);
    view.setBigUint64(root + n * 8, n === 0 ? BigInt(pointers) | 7n : upper | (rng.chance(1, 50) ? PS : 0n), true);
  }
  return root;
}

/** What of a guest's memory depends on its mode. */
export interface TableChoice {
  readonly long: boolean;
  readonly paging: Paging;
  readonly user: boolean;
  readonly noExecute: boolean;
}

/** Memory of a guest but for its code: descriptor tables, TSS, page tables, data. Returns it with CR3. */
export function writeTables(
  rng: Rng,
  { long, paging, user, noExecute }: TableChoice,
): { image: Uint8Array; cr3: number } {
  const image = new Uint8Array(RAM_BYTES);
  const view = new DataView(image.buffer);
  for (let vector = 0; vector < 256; vector++) {
    view.setUint16(AT.IVT + vector * 4, rng.below(CODE_BYTES), true);
    view.setUint16(AT.IVT + vector * 4 + 2, AT.CODE >> 4, true);
  }
  writeGdt(rng, view, long);
  writeIdt(rng, view, long);
  writeTss(rng, view, long);
  for (let at = AT.DATA; at < AT.DATA + DATA_BYTES; at += 4)
    view.setUint32(at, rng.chance(1, 3) ? AT.DATA + rng.below(DATA_BYTES) : rng.u32(), true);
  const cr3 = writePaging(rng, view, paging, user, noExecute);
  return { image, cr3 };
}
