/**
 * What the interpreter keeps beside the architectural state, as byte offsets from {@link InterpreterLayout.engine}.
 * TypeScript and WebAssembly hand each other values here, because an i64 argument of a call would make a bigint.
 */
export const ENGINE_FIELD = {
  /** i64, 16 bytes for vectors: value of a load or store on the slow path. */
  value: 0,
  /** i64: linear address of the access on the slow path. */
  linear: 16,
  /** u32: address of the micro-operation at which the interpreter left. */
  uop: 24,
  /** u32: address of the running block. */
  block: 28,
  /** u32: an exception that a micro-operation raised, as `UopEmitter.raiseDynamic` encodes it. */
  fault: 32,
  /** u32: address of the TLB array for reads, and for writes, at the privilege in force. */
  readTlb: 36,
  writeTlb: 40,
  /** u32: what blocks that may follow are tagged with: the code mode in force and the age of the translations. */
  tag: 44,
  /** u32: after `LEAVE.STOP`, address of the link that led to the block, or 0. */
  link: 48,
} as const;

/** Bytes that the fields take. */
export const ENGINE_BYTES = 64;

/**
 * Bytes of an entry of the lookup table: RIP (i64), tag (u32), address of the block (u32). A block ends in as many
 * such entries of its own, links, as its last micro-operation has ways out: each remembers where its way led.
 */
export const LOOKUP_ENTRY_BYTES = 16;
/** Bytes before a block's first micro-operation: the count of its instructions (u32). */
export const BLOCK_HEADER_BYTES = 16;
/** Bytes of a TLB entry: tag (i64), address of the page in the WebAssembly memory (u32), padding. */
export const TLB_ENTRY_BYTES_LOG2 = 4;

/** Where things are in the WebAssembly memory; constants of the generated code. */
export interface InterpreterLayout {
  /** Architectural state. */
  readonly state: number;
  /** The {@link ENGINE_FIELD}s. */
  readonly engine: number;
  /** Table of blocks by RIP. */
  readonly lookup: number;
  /** Entries in it, a power of two. */
  readonly lookupEntries: number;
  /** Entries of a TLB array, a power of two. */
  readonly tlbEntries: number;
}

/** Why the interpreter returned. An outlined row returns one of these, or 0 to go on. */
export const LEAVE = {
  /** The next block has more instructions than the fuel covers; RIP names it. */
  FUEL: 1,
  /** No block is known for RIP. */
  MISS: 2,
  /** The slow path of a memory access, or the bigint meaning of a row, failed at `uop`. */
  ACCESS: 3,
  /** A micro-operation raised `fault` at `uop`. */
  RAISE: 4,
  /** At the system instruction that ends `block`. */
  SYSTEM: 5,
  /** At an instruction boundary, because the code ahead has changed. */
  STOP: 6,
} as const;

/** The index of RIP's entry in the lookup table. */
export function lookupIndex(ripLow: number, entries: number): number {
  return (ripLow ^ (ripLow >>> 12)) & (entries - 1);
}
