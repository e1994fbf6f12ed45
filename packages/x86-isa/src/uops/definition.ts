import type { SlotName } from "../state/layout.js";
import type { ExecutionEnvironment } from "../environment.js";
import type { WasmWriter } from "../wasm/writer.js";

/**
 * One micro-operation in memory, 16 bytes, little-endian:
 *
 * | bytes | field | meaning |
 * | --- | --- | --- |
 * | 0-1 | op | index into the table |
 * | 2-3 | d | destination: offset of a state field |
 * | 4-5 | a | first source: offset of a state field |
 * | 6-7 | b | second source: offset of a state field; or the small constant `n`, where the row says so |
 * | 8-15 | imm | 64-bit constant |
 */
export const UOP_BYTES = 16;

/** A micro-operation as the lifter makes it. `d`, `a` and `b` are state offsets (see state/layout.ts). */
export interface Uop {
  readonly op: number;
  readonly d: number;
  readonly a: number;
  readonly b: number;
  readonly imm: bigint;
}

/** Bytes that a memory row moves. */
export type MemorySize = 1 | 2 | 4 | 8 | 16;

const BITS = { 1: 8, 2: 16, 4: 32, 8: 64, 16: 128 } as const;

/** Bits of so many bytes, as names of rows say them. */
export const bitsOf = <S extends MemorySize>(size: S): (typeof BITS)[S] => BITS[size];

/**
 * What a row's WebAssembly meaning is written over. It is a typed writer of WebAssembly instructions plus the operands
 * of the micro-operation; the interpreter backs operands by loads through the micro-operation's fields, the compiler by
 * constants and locals, so one text serves both. The stack discipline is WebAssembly's own.
 */
export interface UopEmitter {
  /** The instruction writer. */
  readonly w: WasmWriter;
  /** Push the i64 in slot `a`, `b` or `d`. */
  a(): void;
  b(): void;
  d(): void;
  /** Push the i64 constant. */
  imm(): void;
  /** Push the low or high half of the constant, sign-extended to i64. */
  immLow(): void;
  immHigh(): void;
  /** Push the small constant in field `b` as i32. */
  n(): void;
  /** Push the i64 in the slot that bits 63:48 of the constant name, shifted left by bits 47:40 of it. */
  index(): void;
  /** Push the i64 of the state field whose offset the i32 pushed by `offset` is, `extra` bytes on. */
  field(offset: () => void, op: "i64.load" | "i32.load", extra?: number): void;
  /** Store the i64 pushed by `value` to the state field whose offset the i32 pushed by `offset` is, `extra` bytes on. */
  setField(offset: () => void, value: () => void, extra?: number): void;
  /** Store the i64 pushed by `value` to slot `d`. */
  setD(value: () => void): void;
  /** Push / store the v128 in a vector slot. */
  va(): void;
  vb(): void;
  vd(): void;
  setVD(value: () => void): void;
  /** Push / store a fixed state field of 8 bytes as i64. */
  get(field: SlotName): void;
  set(field: SlotName, value: () => void): void;
  /** The same for a field of 4 bytes, as i32. */
  get32(field: SlotName): void;
  set32(field: SlotName, value: () => void): void;
  /** A scratch local, the same one for the same index within a row. */
  i64(index: number): number;
  i32(index: number): number;
  v128(index: number): number;
  f32(index: number): number;
  f64(index: number): number;
  /**
   * Push the value at linear address `a` + sign-extended low half of the constant: i64, zero-extended; v128 for 16 bytes.
   * `at` is a distance in bytes from there, or pushes another address. With `willWrite` it takes write permission, so that
   * a store of the same bytes cannot fault any more. A fault leaves the block.
   */
  load(size: MemorySize, willWrite: boolean, at?: number | (() => void)): void;
  /** Store the i64 (v128 for 16 bytes) pushed by `value` there. A fault leaves the block, with nothing stored. */
  store(size: MemorySize, value: () => void, at?: number | (() => void)): void;
  /**
   * Do what the row's bigint meaning says, all of it, by a call of the host; a fault leaves the block. For a row without
   * a meaning of its own in WebAssembly, and for the uncommon values of one that has a quick way for the common ones.
   */
  evaluate(): void;
  /**
   * Push as i32 where in the WebAssembly memory the byte lies whose linear address is in the i64 local `linear`, if it
   * may be read (`write`: written) there without further ado; otherwise 0. It is so for all bytes of its page.
   */
  reach(linear: number, write: boolean): void;
  /** Leave the block with an exception at the current instruction. Nothing of it may have been done yet. */
  raise(vector: number, errorCode?: number): void;
  /** The same with `vector | errorCode << 8 | hasErrorCode << 31` pushed as i32 by `fault`. */
  raiseDynamic(fault: () => void): void;
  /** Skip as many micro-operations as the i32 pushed by `count` says. */
  skip(count: () => void): void;
  /**
   * Leave to the block at the RIP pushed as i64 by `target`. `way` pushes as i32 which of the row's `ways` out it is,
   * always to the same distance from the block, so that where it leads can be remembered.
   */
  jump(target: () => void, way?: () => void): void;
  /** Leave to TypeScript: for the system instruction that ends the block. */
  system(): void;
  /** Leave to TypeScript at an instruction boundary; RIP and fuel are as they should be. */
  stop(): void;
}

/** How the bigint meaning of a row sees its micro-operation. Values are unsigned 64-bit, those of vector slots 128-bit. */
export interface UopValues {
  readonly machine: ExecutionEnvironment;
  readonly uop: Uop;
  a(): bigint;
  b(): bigint;
  d(): bigint;
  imm(): bigint;
  /** The small constant in field `b`. */
  n(): number;
  setD(value: bigint): void;
  va(): bigint;
  vb(): bigint;
  vd(): bigint;
  setVD(value: bigint): void;
  get(field: SlotName): bigint;
  set(field: SlotName, value: bigint): void;
  /** Skip the next `count` micro-operations. */
  skip(count: number): void;
  /** Run the system instruction that ends the block. */
  system(): void;
}

export type UopOperand = "d" | "a" | "b" | "n" | "imm";

/** One row of the table: a micro-operation's name, operands and its two meanings, side by side. */
export interface UopDefinition {
  readonly name: string;
  readonly summary: string;
  /** Which of the fields carry meaning; the encoder refuses others. `n` is the small constant in field `b`. */
  readonly operands: readonly UopOperand[];
  /** It reads or writes memory, and so may leave the block with a fault. */
  readonly memory?: boolean;
  /** It may leave the block with an exception of its own. */
  readonly faults?: boolean;
  /** It is the last of its block. */
  readonly ends?: boolean;
  /** How many targets it knows that are always at the same distance: one for a jump, two for a conditional one. */
  readonly ways?: 1 | 2;
  /**
   * It writes lazy flags. With `readsFlags` beside it, it keeps some of them (INC keeps CF, a shift by zero keeps all):
   * only a row that writes without reading makes earlier flags dead.
   */
  readonly writesFlags?: boolean;
  readonly readsFlags?: boolean;
  /**
   * Its WebAssembly is a function of its own that the interpreter calls, so that a row which is seldom executed, or long,
   * costs the main loop no more than the call. Such a row neither skips nor jumps.
   */
  readonly outlined?: boolean;
  /** Name of the row that does the same and leaves the flags alone, for where they are dead. */
  readonly flagless?: string;
  wasm(e: UopEmitter): void;
  evaluate(v: UopValues): void;
}
