import type { Machine } from "../machine.js";

/**
 * One micro-operation in memory, 16 bytes, little-endian:
 *
 * | bytes | field | meaning |
 * | --- | --- | --- |
 * | 0-1 | op | index into the table |
 * | 2-3 | d | destination: offset of a state field |
 * | 4-5 | a | first source: offset of a state field |
 * | 6-7 | b | second source: offset of a state field, or a small constant where the row says so |
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

/**
 * What a row's WebAssembly meaning is written over. It is a typed writer of WebAssembly instructions plus the operands
 * of the micro-operation; the interpreter backs operands by loads through the micro-operation's fields, the compiler by
 * constants and locals, so one text serves both. The stack discipline is WebAssembly's own.
 */
export interface UopEmitter {
  /** The instruction writer. */
  readonly w: import("../wasm/writer.js").WasmWriter;
  /** Push the i64 in slot `a`, `b` or `d`. */
  a(): void;
  b(): void;
  d(): void;
  /** Push the i64 constant. */
  imm(): void;
  /** Pop an i64 pushed by `value` into slot `d`. */
  setD(value: () => void): void;
  /** Push / set a fixed state field as i64. */
  get(field: string): void;
  set(field: string, value: () => void): void;
  /** A scratch local, the same one for the same index within a row. */
  i64(index: number): number;
  i32(index: number): number;
}

/** How the bigint meaning of a row sees its micro-operation. Values are unsigned 64-bit. */
export interface UopValues {
  readonly machine: Machine;
  readonly uop: Uop;
  a(): bigint;
  b(): bigint;
  d(): bigint;
  imm(): bigint;
  setD(value: bigint): void;
  get(field: string): bigint;
  set(field: string, value: bigint): void;
  /** Skip the next `count` micro-operations. */
  skip(count: number): void;
}

/** One row of the table: a micro-operation's name, operands and its two meanings, side by side. */
export interface UopDefinition {
  readonly name: string;
  readonly summary: string;
  /** Which of the fields carry meaning; the encoder refuses others. */
  readonly operands: readonly ("d" | "a" | "b" | "imm")[];
  /** It reads or writes memory, and so may leave the block with a fault. */
  readonly memory?: boolean;
  /** It is the last of its block. */
  readonly ends?: boolean;
  /** It writes the lazy flags (and nothing reads them before): the lifter may drop it or take its flagless twin. */
  readonly writesFlags?: boolean;
  readonly readsFlags?: boolean;
  wasm(e: UopEmitter): void;
  evaluate(v: UopValues): void;
}
