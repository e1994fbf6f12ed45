import type { AccessSize, ExecutionEnvironment, MemoryAccess } from "../environment.js";
import type { SegmentState } from "../state/cpu-state.js";
import { SEGMENT_NAMES } from "../state/layout.js";
import { SEGMENT_RIGHTS, SEGMENT_TYPE } from "../tables/segments.js";
import { VECTOR } from "../tables/vectors.js";
import { GPR, fault, is64Bit, isProtected, isUsable, maskOf, stackAddressBytes } from "./mode.js";

/** Encodings of the segment registers. */
export const SEGMENT = { ES: 0, CS: 1, SS: 2, DS: 3, FS: 4, GS: 5 } as const;

const READ: MemoryAccess = { write: false };
const WRITE: MemoryAccess = { write: true };
const READ_STACK: MemoryAccess = { write: false, stack: true };
const WRITE_STACK: MemoryAccess = { write: true, stack: true };
/** Descriptor tables and the TSS (SDM vol. 3, "Determination of Access Rights": implicit supervisor accesses). */
export const SYSTEM_READ: MemoryAccess = { write: false, system: true };
export const SYSTEM_WRITE: MemoryAccess = { write: true, system: true };

export const readAccess = (segment: number): MemoryAccess => (segment === SEGMENT.SS ? READ_STACK : READ);
export const writeAccess = (segment: number): MemoryAccess => (segment === SEGMENT.SS ? WRITE_STACK : WRITE);

/** Whether `size` bytes at `offset` lie within the limit of a segment, expand-down ones included. */
export function withinLimit(segment: Pick<SegmentState, "limit" | "rights">, offset: bigint, size: number): boolean {
  const last = offset + BigInt(size) - 1n;
  const type = segment.rights & SEGMENT_RIGHTS.TYPE;
  const expandDown =
    (segment.rights & SEGMENT_RIGHTS.S) !== 0 &&
    (type & (SEGMENT_TYPE.CODE | SEGMENT_TYPE.EXPAND_DOWN)) === SEGMENT_TYPE.EXPAND_DOWN;
  if (!expandDown) return last <= BigInt(segment.limit);
  const top = (segment.rights & SEGMENT_RIGHTS.DB) !== 0 ? 0xffffffffn : 0xffffn;
  return offset > BigInt(segment.limit) && last <= top;
}

/**
 * The linear address of a data access, outside 64-bit mode with the checks of type and limit (SDM vol. 3, "Limit
 * Checking", "Type Checking"). In 64-bit mode the access itself checks that the address is canonical.
 */
export function linearAddress(
  m: ExecutionEnvironment,
  index: number,
  offset: bigint,
  size: number,
  write: boolean,
): bigint {
  const s = m.state;
  const segment = s.segment(SEGMENT_NAMES[index] ?? "ds");
  if (is64Bit(s)) return BigInt.asUintN(64, index >= SEGMENT.FS ? segment.base + offset : offset);
  const vector = index === SEGMENT.SS ? VECTOR.SS : VECTOR.GP;
  if (isProtected(s)) {
    if (!isUsable(segment.rights)) fault(vector, 0);
    const code = (segment.rights & SEGMENT_TYPE.CODE) !== 0;
    // Bit 1 is "writable" of data and "readable" of code.
    const permitted = (segment.rights & SEGMENT_TYPE.WRITABLE) !== 0;
    if (write ? code || !permitted : code && !permitted) fault(vector, 0);
  }
  if (!withinLimit(segment, offset, size)) fault(vector, 0);
  return (segment.base + offset) & 0xffffffffn;
}

export function loadSegmented(m: ExecutionEnvironment, segment: number, offset: bigint, size: AccessSize): bigint {
  return m.load(linearAddress(m, segment, offset, size, false), size, readAccess(segment));
}

export function storeSegmented(
  m: ExecutionEnvironment,
  segment: number,
  offset: bigint,
  size: AccessSize,
  value: bigint,
): void {
  m.store(linearAddress(m, segment, offset, size, true), size, value, writeAccess(segment));
}

/** The stack pointer cut to the stack-address size. */
export function stackPointer(m: ExecutionEnvironment): bigint {
  return m.state.gpr(GPR.RSP) & maskOf(stackAddressBytes(m.state));
}

/** Set SP, ESP or RSP by the stack-address size: a 16-bit stack keeps the upper bits of ESP. */
export function setStackPointer(m: ExecutionEnvironment, value: bigint): void {
  const bytes = stackAddressBytes(m.state);
  const mask = maskOf(bytes);
  const keep = bytes === 2 ? m.state.gpr(GPR.RSP) & ~mask : 0n;
  m.state.setGpr(GPR.RSP, BigInt.asUintN(64, keep | (value & mask)));
}

/** Read an item of the current stack, `offset` bytes above its top. */
export function peek(m: ExecutionEnvironment, offset: number, size: AccessSize): bigint {
  const mask = maskOf(stackAddressBytes(m.state));
  return loadSegmented(m, SEGMENT.SS, (stackPointer(m) + BigInt(offset)) & mask, size);
}

/** The stack that a {@link StackWriter} pushes on: the current one, or the one of an inner privilege level. */
export interface TargetStack {
  readonly segment: Pick<SegmentState, "base" | "limit" | "rights">;
  /** Its stack pointer; the writer cuts it to `addressBytes`. */
  readonly pointer: bigint;
  readonly addressBytes: 2 | 4 | 8;
  /** Error code of the #SS that an item outside the limit meets. */
  readonly errorCode: number;
  readonly access: MemoryAccess;
}

/** Pushes that happen together or not at all. */
export class StackWriter {
  readonly #m: ExecutionEnvironment;
  readonly #stack: TargetStack;
  readonly #writes: { linear: bigint; size: 2 | 4 | 8; value: bigint }[] = [];
  #pointer: bigint;

  constructor(m: ExecutionEnvironment, stack: TargetStack) {
    this.#m = m;
    this.#stack = stack;
    this.#pointer = stack.pointer & maskOf(stack.addressBytes);
  }

  /** The current stack at the current privilege. */
  static current(m: ExecutionEnvironment, errorCode = 0): StackWriter {
    return new StackWriter(m, {
      segment: m.state.segment("ss"),
      pointer: m.state.gpr(GPR.RSP),
      addressBytes: stackAddressBytes(m.state),
      errorCode,
      access: WRITE_STACK,
    });
  }

  /** Stack pointer after the pushes, cut to the stack-address size. */
  get pointer(): bigint {
    return this.#pointer;
  }

  push(size: 2 | 4 | 8, value: bigint): void {
    const { segment, addressBytes, errorCode } = this.#stack;
    this.#pointer = (this.#pointer - BigInt(size)) & maskOf(addressBytes);
    let linear = this.#pointer;
    if (addressBytes !== 8) {
      if (!withinLimit(segment, this.#pointer, size)) fault(VECTOR.SS, errorCode);
      linear = (segment.base + this.#pointer) & 0xffffffffn;
    }
    this.#writes.push({ linear, size, value: value & maskOf(size) });
  }

  /** Raise what the stores would raise. */
  probe(): void {
    for (const { linear, size } of this.#writes) this.#m.probe(linear, size, this.#stack.access);
  }

  /** Store; after a successful {@link probe} nothing can fail. */
  commit(): void {
    for (const { linear, size, value } of this.#writes) this.#m.store(linear, size, value, this.#stack.access);
  }
}
