import { slot, type SlotName } from "../state/layout.js";
import { PAGE_OFFSET_MASK, PAGE_SIZE } from "../tables/paging.js";
import type { MemorySize, UopEmitter } from "../uops/definition.js";
import { UOP_BYTES } from "../uops/definition.js";
import type { Label, ValueType, WasmWriter } from "../wasm/writer.js";
import { ENGINE_FIELD, LEAVE, LOOKUP_ENTRY_BYTES, TLB_ENTRY_BYTES_LOG2, type InterpreterLayout } from "./layout.js";

const FIELD_D = 2;
const FIELD_A = 4;
const FIELD_B = 6;
const FIELD_IMM = 8;
/** Within the constant. */
const FIELD_INDEX_SHIFT = 13;
const FIELD_INDEX_SLOT = 14;

/** Functions of the host that the generated code calls, by index. All take the micro-operation's address; 0 is success. */
export interface SlowPaths {
  /** These two take a size too. */
  readonly load: number;
  readonly store: number;
  /** Runs the row's bigint meaning. */
  readonly evaluate: number;
}

/** How the generated code goes on from block to block. */
export interface BlockFlow {
  /** Looks up the block at RIP, and notes it in the link that local `link` holds the address of, if that is not 0. */
  readonly next: Label;
  /** Enters the block whose address is in local `block`. */
  readonly enter: Label;
  /** Locals: i32, i32, i64. */
  readonly block: number;
  readonly link: number;
  readonly rip: number;
}

const LOADS = { 1: "i64.load8_u", 2: "i64.load16_u", 4: "i64.load32_u", 8: "i64.load", 16: "v128.load" } as const;
const STORES = { 1: "i64.store8", 2: "i64.store16", 4: "i64.store32", 8: "i64.store", 16: "v128.store" } as const;

/** Marks a load on the slow path that takes write permission, in its size argument. */
export const WILL_WRITE = 0x100;

/** Rows over micro-operations in memory: operands are reached through the fields of the one at local `pc`. */
export class InterpreterEmitter implements UopEmitter {
  private readonly scratch = new Map<string, number>();

  /**
   * @param pc local with the address of the micro-operation
   * @param flow where a block may go on; absent in a function of an outlined row
   */
  constructor(
    readonly w: WasmWriter,
    private readonly layout: InterpreterLayout,
    private readonly pc: number,
    private readonly slow: SlowPaths,
    private readonly flow: BlockFlow | undefined,
  ) {}

  private offsetIn(field: number): void {
    this.w.get(this.pc);
    this.w.mem("i32.load16_u", field);
  }

  private operand(field: number): void {
    this.offsetIn(field);
    this.w.mem("i64.load", this.layout.state);
  }

  a(): void {
    this.operand(FIELD_A);
  }

  b(): void {
    this.operand(FIELD_B);
  }

  d(): void {
    this.operand(FIELD_D);
  }

  imm(): void {
    this.w.get(this.pc);
    this.w.mem("i64.load", FIELD_IMM);
  }

  immLow(): void {
    this.w.get(this.pc);
    this.w.mem("i64.load32_s", FIELD_IMM);
  }

  immHigh(): void {
    this.w.get(this.pc);
    this.w.mem("i64.load32_s", FIELD_IMM + 4);
  }

  n(): void {
    this.offsetIn(FIELD_B);
  }

  index(): void {
    this.operand(FIELD_INDEX_SLOT);
    this.w.get(this.pc);
    this.w.mem("i64.load8_u", FIELD_INDEX_SHIFT);
    this.w.op("i64.shl");
  }

  field(offset: () => void, op: "i64.load" | "i32.load", extra = 0): void {
    offset();
    this.w.mem(op, this.layout.state + extra);
  }

  setField(offset: () => void, value: () => void, extra = 0): void {
    offset();
    value();
    this.w.mem("i64.store", this.layout.state + extra);
  }

  setD(value: () => void): void {
    this.offsetIn(FIELD_D);
    value();
    this.w.mem("i64.store", this.layout.state);
  }

  va(): void {
    this.offsetIn(FIELD_A);
    this.w.mem("v128.load", this.layout.state);
  }

  vb(): void {
    this.offsetIn(FIELD_B);
    this.w.mem("v128.load", this.layout.state);
  }

  vd(): void {
    this.offsetIn(FIELD_D);
    this.w.mem("v128.load", this.layout.state);
  }

  setVD(value: () => void): void {
    this.offsetIn(FIELD_D);
    value();
    this.w.mem("v128.store", this.layout.state);
  }

  get(field: SlotName): void {
    this.w.i32(0);
    this.w.mem("i64.load", this.layout.state + slot(field));
  }

  set(field: SlotName, value: () => void): void {
    this.w.i32(0);
    value();
    this.w.mem("i64.store", this.layout.state + slot(field));
  }

  get32(field: SlotName): void {
    this.w.i32(0);
    this.w.mem("i32.load", this.layout.state + slot(field));
  }

  set32(field: SlotName, value: () => void): void {
    this.w.i32(0);
    value();
    this.w.mem("i32.store", this.layout.state + slot(field));
  }

  private local(type: ValueType, index: number): number {
    const key = `${type}${index}`;
    let local = this.scratch.get(key);
    if (local === undefined) {
      local = this.w.local(type);
      this.scratch.set(key, local);
    }
    return local;
  }

  i64(index: number): number {
    return this.local("i64", index);
  }

  i32(index: number): number {
    return this.local("i32", index);
  }

  v128(index: number): number {
    return this.local("v128", index);
  }

  f32(index: number): number {
    return this.local("f32", index);
  }

  f64(index: number): number {
    return this.local("f64", index);
  }

  /** Set locals to the linear address and the TLB entry for it; push whether the entry holds all `size` bytes. */
  private lookUp(size: MemorySize, array: number, linear: number, entry: number, at: number | (() => void)): void {
    if (typeof at === "number") {
      this.a();
      this.immLow();
      this.w.op("i64.add");
      if (at !== 0) {
        this.w.i64(BigInt(at));
        this.w.op("i64.add");
      }
    } else at();
    this.w.set(linear);
    this.findEntry(size, array, linear, entry);
  }

  /** Set local `entry` to the TLB entry for the address in local `linear`; push whether it holds all `size` bytes. */
  private findEntry(size: MemorySize, array: number, linear: number, entry: number): void {
    const { w, layout } = this;
    w.get(linear);
    w.op("i32.wrap_i64");
    w.i32(12 - TLB_ENTRY_BYTES_LOG2);
    w.op("i32.shr_u");
    w.i32((layout.tlbEntries - 1) << TLB_ENTRY_BYTES_LOG2);
    w.op("i32.and");
    this.engine("i32.load", array);
    w.op("i32.add");
    w.tee(entry);
    w.mem("i64.load");
    // The page of the last byte: an access that crosses into the next page finds another tag.
    w.get(linear);
    if (size > 1) {
      w.i64(BigInt(size - 1));
      w.op("i64.add");
    }
    w.i64(BigInt(-PAGE_SIZE));
    w.op("i64.and", "i64.eq");
  }

  /** Push the address in the WebAssembly memory of the bytes that a hit found. */
  private hostAddress(linear: number, entry: number): void {
    const { w } = this;
    w.get(entry);
    w.mem("i32.load", 8);
    w.get(linear);
    w.op("i32.wrap_i64");
    w.i32(PAGE_OFFSET_MASK);
    w.op("i32.and", "i32.or");
  }

  private engine(op: "i32.load" | "i64.load" | "v128.load", field: number): void {
    this.w.i32(0);
    this.w.mem(op, this.layout.engine + field);
  }

  private setEngine(op: "i32.store" | "i64.store" | "v128.store", field: number, value: () => void): void {
    this.w.i32(0);
    value();
    this.w.mem(op, this.layout.engine + field);
  }

  private callSlow(path: number, size: number, linear: number): void {
    const { w } = this;
    this.setEngine("i64.store", ENGINE_FIELD.linear, () => w.get(linear));
    w.get(this.pc);
    w.i32(size);
    w.call(path);
    w.if(() => this.leave(LEAVE.ACCESS));
  }

  load(size: MemorySize, willWrite: boolean, at: number | (() => void) = 0): void {
    const { w } = this;
    const [linear, entry] = [this.local("i64", 20), this.local("i32", 20)];
    const type = size === 16 ? "v128" : "i64";
    this.lookUp(size, willWrite ? ENGINE_FIELD.writeTlb : ENGINE_FIELD.readTlb, linear, entry, at);
    w.if(
      () => {
        this.hostAddress(linear, entry);
        w.mem(LOADS[size]);
      },
      () => {
        this.callSlow(this.slow.load, size | (willWrite ? WILL_WRITE : 0), linear);
        this.engine(size === 16 ? "v128.load" : "i64.load", ENGINE_FIELD.value);
      },
      type,
    );
  }

  store(size: MemorySize, value: () => void, at: number | (() => void) = 0): void {
    const { w } = this;
    const [linear, entry] = [this.local("i64", 20), this.local("i32", 20)];
    this.lookUp(size, ENGINE_FIELD.writeTlb, linear, entry, at);
    w.if(
      () => {
        this.hostAddress(linear, entry);
        value();
        w.mem(STORES[size]);
      },
      () => {
        this.setEngine(size === 16 ? "v128.store" : "i64.store", ENGINE_FIELD.value, value);
        this.callSlow(this.slow.store, size, linear);
      },
    );
  }

  evaluate(): void {
    this.w.get(this.pc);
    this.w.call(this.slow.evaluate);
    this.w.if(() => this.leave(LEAVE.ACCESS));
  }

  reach(linear: number, write: boolean): void {
    const entry = this.local("i32", 20);
    this.findEntry(1, write ? ENGINE_FIELD.writeTlb : ENGINE_FIELD.readTlb, linear, entry);
    this.w.if(
      () => this.hostAddress(linear, entry),
      () => this.w.i32(0),
      "i32",
    );
  }

  raise(vector: number, errorCode?: number): void {
    this.raiseDynamic(() => this.w.i32(vector | (errorCode === undefined ? 0 : (errorCode << 8) | (1 << 31))));
  }

  raiseDynamic(fault: () => void): void {
    this.setEngine("i32.store", ENGINE_FIELD.fault, fault);
    this.leave(LEAVE.RAISE);
  }

  skip(count: () => void): void {
    const { w } = this;
    if (this.flow === undefined) throw new RangeError("an outlined micro-operation cannot skip");
    w.get(this.pc);
    count();
    w.i32(Math.log2(UOP_BYTES));
    w.op("i32.shl", "i32.add");
    w.set(this.pc);
  }

  jump(target: () => void, way?: () => void): void {
    const { w, flow, layout } = this;
    if (flow === undefined) throw new RangeError("an outlined micro-operation cannot jump");
    const { next, enter, block, link, rip } = flow;
    target();
    w.set(rip);
    this.set("rip", () => w.get(rip));
    if (way === undefined) {
      w.i32(0);
      w.set(link);
      w.br(next);
      return;
    }
    // The links come after the micro-operation that ends the block.
    w.get(this.pc);
    w.i32(UOP_BYTES);
    w.op("i32.add");
    way();
    w.i32(Math.log2(LOOKUP_ENTRY_BYTES));
    w.op("i32.shl", "i32.add");
    w.tee(link);
    w.mem("i64.load");
    w.get(rip);
    w.op("i64.ne");
    w.get(link);
    w.mem("i32.load", 8);
    w.i32(0);
    w.mem("i32.load", layout.engine + ENGINE_FIELD.tag);
    w.op("i32.ne", "i32.or");
    w.brIf(next);
    w.get(link);
    w.mem("i32.load", 12);
    w.set(block);
    w.br(enter);
  }

  system(): void {
    this.leave(LEAVE.SYSTEM);
  }

  stop(): void {
    const { flow } = this;
    if (flow !== undefined) this.setEngine("i32.store", ENGINE_FIELD.link, () => this.w.get(flow.link));
    this.leave(LEAVE.STOP);
  }

  private leave(reason: number): void {
    this.setEngine("i32.store", ENGINE_FIELD.uop, () => this.w.get(this.pc));
    this.w.i32(reason);
    this.w.op("return");
  }
}
