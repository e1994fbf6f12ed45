import type { ExecutionEnvironment } from "../environment.js";
import type { SegmentState } from "../state/cpu-state.js";
import { SEGMENT_RIGHTS, SEGMENT_TYPE, SELECTOR } from "../tables/segments.js";
import { SYSTEM_READ, SYSTEM_WRITE } from "./memory.js";
import { SLOT, dplOf, isLongMode, isUsable } from "./mode.js";

/** A descriptor of the GDT or LDT, decoded. */
export interface Descriptor {
  readonly selector: number;
  /** Linear address of its first byte. */
  readonly linear: bigint;
  readonly raw: bigint;
  readonly base: bigint;
  /** In bytes, granularity applied. */
  readonly limit: number;
  /** In the format of the VMCS access-rights fields. */
  readonly rights: number;
}

export const isNull = (selector: number): boolean => (selector & 0xfffc) === 0;
export const rplOf = (selector: number): number => selector & SELECTOR.RPL;
/** Error code that names a selector. */
export const selectorError = (selector: number): number => selector & 0xfffc;

export const isPresent = (rights: number): boolean => (rights & SEGMENT_RIGHTS.P) !== 0;
export const isSystem = (rights: number): boolean => (rights & SEGMENT_RIGHTS.S) === 0;
export const typeOf = (rights: number): number => rights & SEGMENT_RIGHTS.TYPE;
export const isCode = (rights: number): boolean => !isSystem(rights) && (rights & SEGMENT_TYPE.CODE) !== 0;
export const isConforming = (rights: number): boolean => isCode(rights) && (rights & SEGMENT_TYPE.CONFORMING) !== 0;
export const isReadable = (rights: number): boolean => !isCode(rights) || (rights & SEGMENT_TYPE.READABLE) !== 0;
export const isWritableData = (rights: number): boolean =>
  !isSystem(rights) && !isCode(rights) && (rights & SEGMENT_TYPE.WRITABLE) !== 0;

export { dplOf };

/** Decode the 8 bytes of a segment descriptor (SDM vol. 3, "Segment Descriptors"). */
export function parseDescriptor(selector: number, linear: bigint, raw: bigint): Descriptor {
  const low = Number(raw & 0xffffffffn);
  const high = Number(raw >> 32n);
  const rights = (high >>> 8) & 0xf0ff;
  const limit = (low & 0xffff) | (high & 0xf0000);
  const base = BigInt(((low >>> 16) | ((high & 0xff) << 16) | (high & 0xff000000)) >>> 0);
  const granular = (rights & SEGMENT_RIGHTS.G) !== 0;
  return { selector, linear, raw, base, limit: granular ? ((limit << 12) | 0xfff) >>> 0 : limit, rights };
}

/**
 * Read the descriptor that a selector names; undefined where it lies outside its table. `bytes` is what the limit has
 * to cover: 16 for a system descriptor in IA-32e mode.
 */
export function readDescriptor(m: ExecutionEnvironment, selector: number, bytes: 8 | 16 = 8): Descriptor | undefined {
  const s = m.state;
  let base: bigint;
  let limit: number;
  if ((selector & SELECTOR.TI) !== 0) {
    const ldt = s.segment("ldtr");
    if (!isUsable(ldt.rights)) return undefined;
    ({ base, limit } = ldt);
  } else {
    base = s.get64(SLOT.gdtrBase);
    limit = s.get32(SLOT.gdtrLimit);
  }
  const offset = selector & SELECTOR.INDEX;
  if (offset + bytes - 1 > limit) return undefined;
  const linear = linearOf(m, base + BigInt(offset));
  return parseDescriptor(selector, linear, m.load(linear, 8, SYSTEM_READ));
}

/** A linear address cut to what the mode has. */
export function linearOf(m: ExecutionEnvironment, address: bigint): bigint {
  return isLongMode(m.state) ? BigInt.asUintN(64, address) : address & 0xffffffffn;
}

/** Upper 8 bytes of a 16-byte system descriptor: bits 63:32 of its base (or offset), and its second type field. */
export function readUpperHalf(m: ExecutionEnvironment, descriptor: Descriptor): { high: bigint; type: number } {
  const raw = m.load(linearOf(m, descriptor.linear + 8n), 8, SYSTEM_READ);
  return { high: (raw & 0xffffffffn) << 32n, type: Number((raw >> 40n) & 0x1fn) };
}

/** Set the accessed bit of a code or data descriptor, and give the segment with it set. */
export function markAccessed(m: ExecutionEnvironment, d: Descriptor): number {
  if ((d.rights & SEGMENT_TYPE.ACCESSED) === 0) {
    m.store(linearOf(m, d.linear + 5n), 1, ((d.raw >> 40n) & 0xffn) | 1n, SYSTEM_WRITE);
  }
  return d.rights | SEGMENT_TYPE.ACCESSED;
}

/** Raise what {@link markAccessed} would raise. */
export function probeAccessed(m: ExecutionEnvironment, d: Descriptor): void {
  if ((d.rights & SEGMENT_TYPE.ACCESSED) === 0) m.probe(linearOf(m, d.linear + 5n), 1, SYSTEM_WRITE);
}

/** The segment-register content that a descriptor gives. */
export function segmentFrom(d: Descriptor, selector: number, rights = d.rights): SegmentState {
  return { selector, base: d.base, limit: d.limit, rights };
}
