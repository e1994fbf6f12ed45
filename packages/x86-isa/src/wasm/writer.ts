import { ByteSink } from "./bytes.js";
import {
  LANE_OPCODES,
  MEMORY_OPCODES,
  PLAIN_OPCODES,
  SATURATING_OPCODES,
  VECTOR_MEMORY_OPCODES,
  VECTOR_OPCODES,
  type LaneOp,
  type MemoryOp,
  type PlainOp,
} from "./opcodes.js";

const VALUE_TYPES = { i32: 0x7f, i64: 0x7e, f32: 0x7d, f64: 0x7c, v128: 0x7b } as const;
export type ValueType = keyof typeof VALUE_TYPES;

/** Encoding of a value type in the binary format. */
export function valueTypeByte(type: ValueType): number {
  return VALUE_TYPES[type];
}

/** A place that branches can name: the nesting depth at which its block was opened. */
export type Label = number & { readonly __brand?: "Label" };

const plain = new Map<string, readonly number[]>();
for (const [name, code] of Object.entries(PLAIN_OPCODES)) plain.set(name, [code]);
for (const [name, code] of Object.entries(SATURATING_OPCODES)) plain.set(name, [0xfc, code]);
for (const [name, code] of Object.entries(VECTOR_OPCODES)) {
  plain.set(name, code < 0x80 ? [0xfd, code] : [0xfd, (code & 0x7f) | 0x80, code >> 7]);
}

interface MemoryEncoding {
  readonly code: readonly number[];
  readonly align: number;
}
const memory = new Map<string, MemoryEncoding>();
for (const [name, [code, bytes]] of Object.entries(MEMORY_OPCODES)) {
  memory.set(name, { code: [code], align: Math.log2(bytes) });
}
for (const [name, [code, bytes]] of Object.entries(VECTOR_MEMORY_OPCODES)) {
  memory.set(name, { code: [0xfd, code], align: Math.log2(bytes) });
}

const found = <T>(value: T | undefined, name: string): T => {
  if (value === undefined) throw new RangeError(`WebAssembly has no instruction "${name}"`);
  return value;
};

/**
 * Writer of one WebAssembly function body: one method call an instruction, in the order of the text format's folded-out
 * form. Depths of branches are counted here; the rest of validation is the engine's.
 */
export class WasmWriter {
  private readonly code = new ByteSink();
  private readonly locals: ValueType[] = [];
  private depth = 0;

  constructor(private readonly parameterCount: number) {}

  /** Declare a local; returns its index. */
  local(type: ValueType): number {
    this.locals.push(type);
    return this.parameterCount + this.locals.length - 1;
  }

  /** Instructions without immediates, one after another. */
  op(...names: PlainOp[]): void {
    for (const name of names) for (const byte of found(plain.get(name), name)) this.code.u8(byte);
  }

  /** A load or store; the address below the value on the stack. `offset` is the static one. */
  mem(name: MemoryOp, offset = 0): void {
    const { code, align } = found(memory.get(name), name);
    for (const byte of code) this.code.u8(byte);
    // The alignment is a hint alone. Guest data has none, and no engine in use makes anything of it.
    this.code.u8(align);
    this.code.u32(offset);
  }

  lane(name: LaneOp, index: number): void {
    this.code.u8(0xfd);
    this.code.u32(LANE_OPCODES[name]);
    this.code.u8(index);
  }

  /** i8x16.shuffle with its 16 lane numbers. */
  shuffle(lanes: readonly number[]): void {
    this.code.u8(0xfd);
    this.code.u32(13);
    for (const lane of lanes) this.code.u8(lane);
  }

  i32(value: number): void {
    this.code.u8(0x41);
    this.code.s32(value);
  }

  i64(value: bigint): void {
    this.code.u8(0x42);
    this.code.s64(value);
  }

  f64(value: number): void {
    const bytes = new Uint8Array(8);
    new DataView(bytes.buffer).setFloat64(0, value, true);
    this.code.u8(0x44);
    this.code.raw(bytes);
  }

  f32(value: number): void {
    const bytes = new Uint8Array(4);
    new DataView(bytes.buffer).setFloat32(0, value, true);
    this.code.u8(0x43);
    this.code.raw(bytes);
  }

  /** v128.const from its low and high half. */
  v128(low: bigint, high: bigint): void {
    const bytes = new Uint8Array(16);
    const view = new DataView(bytes.buffer);
    view.setBigUint64(0, BigInt.asUintN(64, low), true);
    view.setBigUint64(8, BigInt.asUintN(64, high), true);
    this.code.u8(0xfd);
    this.code.u32(12);
    this.code.raw(bytes);
  }

  get(local: number): void {
    this.code.u8(0x20);
    this.code.u32(local);
  }

  set(local: number): void {
    this.code.u8(0x21);
    this.code.u32(local);
  }

  tee(local: number): void {
    this.code.u8(0x22);
    this.code.u32(local);
  }

  call(functionIndex: number): void {
    this.code.u8(0x10);
    this.code.u32(functionIndex);
  }

  memoryCopy(): void {
    for (const byte of [0xfc, 10, 0, 0]) this.code.u8(byte);
  }

  memoryFill(): void {
    for (const byte of [0xfc, 11, 0]) this.code.u8(byte);
  }

  /** Open a block; branches to the label go to its end. Close it with {@link end}. */
  openBlock(result?: ValueType): Label {
    return this.open(0x02, result);
  }

  /** Open a loop; branches to the label go to its start. Close it with {@link end}. */
  openLoop(result?: ValueType): Label {
    return this.open(0x03, result);
  }

  private open(code: number, result: ValueType | undefined): Label {
    this.code.u8(code);
    this.code.u8(result === undefined ? 0x40 : VALUE_TYPES[result]);
    return this.depth++;
  }

  end(): void {
    if (this.depth === 0) throw new RangeError("no block is open");
    this.depth--;
    this.code.u8(0x0b);
  }

  block(body: (label: Label) => void, result?: ValueType): void {
    body(this.openBlock(result));
    this.end();
  }

  loop(body: (label: Label) => void, result?: ValueType): void {
    body(this.openLoop(result));
    this.end();
  }

  /** `if` on the i32 on top of the stack. */
  if(then: () => void, otherwise?: () => void, result?: ValueType): void {
    this.open(0x04, result);
    then();
    if (otherwise !== undefined) {
      this.code.u8(0x05);
      otherwise();
    }
    this.end();
  }

  br(label: Label): void {
    this.code.u8(0x0c);
    this.code.u32(this.depth - label - 1);
  }

  brIf(label: Label): void {
    this.code.u8(0x0d);
    this.code.u32(this.depth - label - 1);
  }

  /** Branch by the i32 on top of the stack; numbers past the end take the last label given as `otherwise`. */
  brTable(labels: readonly Label[], otherwise: Label): void {
    this.code.u8(0x0e);
    this.code.u32(labels.length);
    for (const label of labels) this.code.u32(this.depth - label - 1);
    this.code.u32(this.depth - otherwise - 1);
  }

  /** The function body in the binary format: declarations of locals, then the code. */
  finish(): Uint8Array {
    if (this.depth !== 0) throw new RangeError("a block is still open");
    const body = new ByteSink();
    const runs: { type: ValueType; count: number }[] = [];
    for (const type of this.locals) {
      const last = runs.at(-1);
      if (last?.type === type) last.count++;
      else runs.push({ type, count: 1 });
    }
    body.u32(runs.length);
    for (const { type, count } of runs) {
      body.u32(count);
      body.u8(VALUE_TYPES[type]);
    }
    body.raw(this.code.take());
    body.u8(0x0b);
    return body.take();
  }
}
