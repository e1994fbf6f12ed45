import type { DecodedInstruction, MemoryOperand, Operand } from "../decode/instruction.js";
import {
  generalRegister,
  GPR_SLOTS,
  isInstructionPointer,
  NO_REGISTER,
  SEGMENT_BASE_SLOTS,
} from "../decode/registers.js";
import { slot, TEMP_COUNT } from "../state/layout.js";
import type { Uop } from "../uops/definition.js";
import { ACCESS_FLAGS } from "../uops/memory.js";
import { uopNumber } from "../uops/table.js";
import type { CodeMode } from "./mode.js";

/** A source: the state offset of a slot, or a constant. */
export type Value = number | bigint;
export type Size = 1 | 2 | 4 | 8;

/** Where a memory operand lies: linear address in a slot, and a displacement that the access adds. */
export interface Address {
  readonly slot: number;
  /** Signed 32 bits. */
  readonly displacement: bigint;
  /** Through SS. */
  readonly stack: boolean;
}

/** An operand that is read, changed and written: `commit` writes what is in `result`. */
export interface Target {
  /** The operand's value. */
  readonly value: number;
  /** Where the new value is to be put, zero-extended from the operand size. */
  readonly result: number;
  commit(): void;
}

const TEMPS = Array.from({ length: TEMP_COUNT }, (_, i) => slot(`t${i}`));
const fits32 = (value: bigint): boolean => BigInt.asIntN(32, value) === BigInt.asIntN(64, value);

const FLAGS_REST = slot("flagsRest");
const SEGMENT_SS = 2;
const SEGMENT_FS = 4;
export const RSP = 4;
export const RBP = 5;

/**
 * Writes the micro-operations of one instruction after another. Methods read like the manual's operation sections; what
 * they return are slots or constants.
 */
export class Builder {
  readonly uops: Uop[] = [];
  #nextTemp = 0;
  #instruction: DecodedInstruction | undefined;

  /** @param blockIp offset in the code segment of the block's first instruction: state field `rip` while it runs */
  constructor(
    readonly mode: CodeMode,
    readonly blockIp: bigint,
  ) {}

  begin(instruction: DecodedInstruction): void {
    this.#instruction = instruction;
    this.#nextTemp = 0;
  }

  get instruction(): DecodedInstruction {
    if (this.#instruction === undefined) throw new Error("no instruction has begun");
    return this.#instruction;
  }

  /** A slot that lives until the instruction ends. */
  temp(): number {
    const at = TEMPS[this.#nextTemp++];
    if (at === undefined) throw new RangeError("an instruction needs more scratch slots than there are");
    return at;
  }

  emit(name: string, fields: Partial<Omit<Uop, "op">> = {}): void {
    const { d = 0, a = 0, b = 0, imm = 0n } = fields;
    this.uops.push({ op: uopNumber(name), d, a, b, imm: BigInt.asIntN(64, imm) });
  }

  /** A value in a slot: constants are put into a scratch slot. */
  slot(value: Value): number {
    if (typeof value === "number") return value;
    const d = this.temp();
    this.emit("movi", { d, imm: value });
    return d;
  }

  move(d: number, value: Value): void {
    if (typeof value === "bigint") this.emit("movi", { d, imm: value });
    else if (d !== value) this.emit("mov", { d, a: value });
  }

  copy(value: Value): number {
    const d = this.temp();
    this.move(d, value);
    return d;
  }

  /** `d = a OP b` in the given width, with flags if the row has them; `name` is the row's without its width. */
  binary(name: string, size: Size, d: number, a: Value, b: Value): number {
    const width = size * 8;
    if (typeof b === "bigint") this.emit(`${name}i${width}`, { d, a: this.slot(a), imm: BigInt.asIntN(width, b) });
    else this.emit(`${name}${width}`, { d, a: this.slot(a), b });
    return d;
  }

  /** The same on all 64 bits and without flags, into a new scratch slot. */
  compute(name: string, a: Value, b: Value): number {
    const d = this.temp();
    if (typeof b === "bigint") this.emit(`${name}i64nf`, { d, a: this.slot(a), imm: b });
    else this.emit(`${name}64nf`, { d, a: this.slot(a), b });
    return d;
  }

  /** A row `d = OP a` into a new scratch slot. */
  unary(name: string, a: Value): number {
    const d = this.temp();
    this.emit(name, { d, a: this.slot(a) });
    return d;
  }

  zeroExtend(value: Value, size: Size): Value {
    if (typeof value === "bigint") return BigInt.asUintN(size * 8, value);
    return size === 8 ? value : this.unary(`zx${size * 8}`, value);
  }

  signExtend(value: Value, size: Size): Value {
    if (typeof value === "bigint") return BigInt.asIntN(size * 8, value);
    return size === 8 ? value : this.unary(`sx${size * 8}`, value);
  }

  /** `d = condition ? a : d`, on all 64 bits. */
  moveIf(d: number, condition: number, a: Value): void {
    this.emit("cmovnz", { d, a: condition, b: this.slot(a) });
  }

  /** 1 or 0 by a condition code (0 O, 1 NO, 2 B, ..., 15 G: the low four bits of Jcc). */
  condition(code: number): number {
    const d = this.temp();
    this.emit(`cc${code}`, { d });
    return d;
  }

  /** Raise an exception if `condition` is not zero. Nothing of the instruction may have been done yet. */
  raiseIf(condition: Value, vector: number, errorCode?: number): void {
    const fault = BigInt(vector) | (errorCode === undefined ? 0n : (BigInt(errorCode) << 8n) | (1n << 31n));
    this.emit("raise", { a: this.slot(condition), imm: fault });
  }

  /** RFLAGS, with the lazy flags computed. */
  rflags(): number {
    const arithmetic = this.temp();
    this.emit("getflags", { d: arithmetic });
    return this.compute("or", arithmetic, FLAGS_REST);
  }

  /** The distance to the next element of a string: the size, negative if DF is set. */
  direction(size: Size): number {
    const d = this.temp();
    this.emit("step", { d, imm: BigInt(size) });
    return d;
  }

  /** Scratch slots in use; to be given back by {@link release}. */
  mark(): number {
    return this.#nextTemp;
  }

  release(mark: number): void {
    this.#nextTemp = mark;
  }

  // --- registers ---

  register(index: number): number {
    const at = GPR_SLOTS[index];
    if (at === undefined) throw new RangeError(`general register ${index} does not exist`);
    return at;
  }

  /** Write the low bytes of a general register as an instruction of that operand size does. */
  setRegister(index: number, size: Size, value: Value): void {
    const d = this.register(index);
    if (typeof value === "bigint" && size >= 4) {
      this.emit("movi", { d, imm: BigInt.asUintN(size * 8, value) });
      return;
    }
    switch (size) {
      case 8:
        this.move(d, value);
        return;
      case 4:
        this.emit("zx32", { d, a: this.slot(value) });
        return;
      default:
        this.emit(`ins${size * 8}`, { d, a: this.slot(value) });
    }
  }

  /** Write AH, CH, DH or BH. */
  setHighByte(index: number, value: Value): void {
    this.emit("ins8h", { d: this.register(index), a: this.slot(value) });
  }

  // --- operands ---

  /** Size in bytes of an operand that has one of its own. */
  sizeOf(operand: Operand): Size {
    if (operand.kind === "register") {
      const part = generalRegister(operand.register);
      if (part !== undefined) return part.size;
    }
    if (
      operand.kind === "memory" &&
      (operand.size === 1 || operand.size === 2 || operand.size === 4 || operand.size === 8)
    ) {
      return operand.size;
    }
    throw new RangeError(`an operand of kind ${operand.kind} has no size of its own`);
  }

  operand(n: number): Operand {
    const operand = this.instruction.operands[n];
    if (operand === undefined) throw new RangeError(`operand ${n} does not exist`);
    return operand;
  }

  /** Encoding of a general register, -1 if `register` names none. */
  registerIndex(register: number): number {
    return generalRegister(register)?.index ?? -1;
  }

  /** The value of a general register; bits above its size are anything. */
  readRegister(register: number): number {
    const part = generalRegister(register);
    if (part === undefined) throw new RangeError(`register ${register} is no general register`);
    return part.high ? this.unary("zx8h", this.register(part.index)) : this.register(part.index);
  }

  /** The value of an operand; bits above its size are anything. Constants are as the instruction extends them. */
  read(operand: Operand): Value {
    switch (operand.kind) {
      case "register":
        return this.readRegister(operand.register);
      case "immediate":
        return operand.value;
      case "memory":
        return this.load(this.address(operand), this.sizeOf(operand));
      default:
        throw new RangeError(`an operand of kind ${operand.kind} cannot be read`);
    }
  }

  /** Write a register operand (memory operands are written through {@link target} or {@link store}). */
  writeRegister(register: number, value: Value): void {
    const part = generalRegister(register);
    if (part === undefined) throw new RangeError(`register ${register} is no general register`);
    if (part.high) this.setHighByte(part.index, value);
    else this.setRegister(part.index, part.size, value);
  }

  /** The slot of a register that is written as a whole (zero-extended from 32 bits); undefined for a part of one. */
  wholeRegister(register: number): number | undefined {
    const part = generalRegister(register);
    return part !== undefined && part.size >= 4 ? this.register(part.index) : undefined;
  }

  /** Open an operand for reading and writing. */
  target(operand: Operand): Target {
    if (operand.kind === "memory") {
      const size = this.sizeOf(operand);
      const at = this.address(operand, true);
      const value = this.load(at, size, true);
      const result = this.temp();
      return { value, result, commit: () => this.store(at, size, result) };
    }
    if (operand.kind !== "register") throw new RangeError(`an operand of kind ${operand.kind} cannot be written`);
    const { register } = operand;
    const value = this.readRegister(register);
    const direct = this.wholeRegister(register);
    const result = direct ?? this.temp();
    return { value, result, commit: () => (direct === undefined ? this.writeRegister(register, result) : undefined) };
  }

  /** Open an operand for writing alone: `commit` stores. */
  destination(operand: Operand): Omit<Target, "value"> {
    if (operand.kind === "memory") {
      const at = this.address(operand, true);
      const result = this.temp();
      return { result, commit: () => this.store(at, this.sizeOf(operand), result) };
    }
    if (operand.kind !== "register") throw new RangeError(`an operand of kind ${operand.kind} cannot be written`);
    const direct = this.wholeRegister(operand.register);
    const result = direct ?? this.temp();
    return {
      result,
      commit: () => (direct === undefined ? this.writeRegister(operand.register, result) : undefined),
    };
  }

  // --- memory ---

  /**
   * The effective address (offset in its segment) of a memory operand, cut to the address size: in a slot of its own, in
   * a register that it equals, or a constant.
   *
   * @param into where to put it if it has to be computed and is not cut
   */
  effectiveAddress(memory: MemoryOperand, into?: number): Value {
    const { displacement, addressSize } = memory;
    const result = (): number => (addressSize === 8 ? into : undefined) ?? this.temp();
    if (isInstructionPointer(memory.base)) {
      const d = result();
      this.emit("ripadd", { d, imm: displacement - this.blockIp });
      return this.zeroExtend(d, addressSize);
    }
    const base = memory.base === NO_REGISTER ? undefined : this.readRegister(memory.base);
    const index = memory.index === NO_REGISTER ? undefined : this.#indexValue(memory.index);
    if (index === undefined) {
      if (base === undefined) return BigInt.asUintN(addressSize * 8, displacement);
      if (displacement === 0n) return this.zeroExtend(base, addressSize);
      return this.#sum(base, displacement, addressSize, result());
    }
    const d = result();
    this.emit(`lea${memory.scale}`, { d, a: base ?? this.slot(0n), b: index, imm: displacement });
    return this.zeroExtend(d, addressSize);
  }

  #indexValue(register: number): number {
    const part = generalRegister(register);
    const value = this.readRegister(register);
    // XLAT alone has an index of 8 bits: AL.
    return part?.size === 1 ? this.unary("zx8", value) : value;
  }

  #sum(base: number, displacement: bigint, addressSize: 2 | 4 | 8, d = this.temp()): number {
    this.emit(`addi${addressSize * 8}nf`, { d, a: base, imm: displacement });
    return d;
  }

  /**
   * The linear address of an operand. Outside 64-bit mode with segments that are not flat, the access of `size` bytes is
   * checked against the segment.
   */
  address(memory: MemoryOperand, write = false): Address {
    const { segment, addressSize, base, index, displacement } = memory;
    const plain =
      this.mode.bitness === 64 &&
      addressSize === 8 &&
      segment < SEGMENT_FS &&
      base !== NO_REGISTER &&
      index === NO_REGISTER &&
      !isInstructionPointer(base) &&
      fits32(displacement);
    if (plain) {
      return {
        slot: this.readRegister(base),
        displacement: BigInt.asIntN(32, displacement),
        stack: segment === SEGMENT_SS,
      };
    }
    return this.linear(segment, this.effectiveAddress(memory), memory.size, write);
  }

  /** The linear address of `size` bytes at an offset in a segment. */
  linear(segment: number, offset: Value, size: number, write: boolean): Address {
    const stack = segment === SEGMENT_SS;
    if (this.mode.bitness === 64) {
      if (segment < SEGMENT_FS) return { slot: this.slot(offset), displacement: 0n, stack };
      const base = SEGMENT_BASE_SLOTS[segment] ?? 0;
      return { slot: this.compute("add", base, offset), displacement: 0n, stack };
    }
    if (this.mode.flat && segment < SEGMENT_FS) return { slot: this.slot(offset), displacement: 0n, stack };
    const d = this.temp();
    const base = SEGMENT_BASE_SLOTS[segment] ?? 0;
    this.emit(write ? "segw" : "segr", { d, a: this.slot(offset), b: base, imm: BigInt(size) });
    return { slot: d, displacement: 0n, stack };
  }

  /** The same operand some bytes on (of one that was checked as a whole). */
  offsetBy(address: Address, bytes: bigint): Address {
    const displacement = address.displacement + bytes;
    if (fits32(displacement)) return { ...address, displacement };
    const d = this.compute("add", address.slot, displacement);
    return { ...address, slot: d, displacement: 0n };
  }

  #access(address: Address): { a: number; imm: bigint } {
    return {
      a: address.slot,
      imm: BigInt.asUintN(32, address.displacement) | (address.stack ? ACCESS_FLAGS.STACK : 0n),
    };
  }

  /**
   * Load zero-extended, into a new scratch slot or `d`. With `willWrite` the right to store there is checked at once.
   */
  load(address: Address, size: Size, willWrite = false, d = this.temp()): number {
    this.emit(`ld${size * 8}${willWrite ? "w" : ""}`, { d, ...this.#access(address) });
    return d;
  }

  store(address: Address, size: Size, value: Value): void {
    const { a, imm } = this.#access(address);
    this.emit(`st${size * 8}`, { b: this.slot(value), a, imm });
  }

  // --- stack ---

  /** The stack pointer plus a constant, cut to the stack-address size. */
  stackOffset(bytes: bigint): number {
    return this.#sum(this.register(RSP), bytes, this.mode.stackBytes);
  }

  setStackPointer(value: Value): void {
    this.setRegister(RSP, this.mode.stackBytes, value);
  }

  /** Store at a stack offset. */
  storeStack(offset: Value, size: Size, value: Value): void {
    this.store(this.linear(SEGMENT_SS, offset, size, true), size, value);
  }

  loadStack(offset: Value, size: Size): number {
    return this.load(this.linear(SEGMENT_SS, offset, size, false), size);
  }

  /** Where a stack offset relative to the stack pointer lies, before the stack pointer moves. */
  #stackAddress(bytes: bigint, size: Size, write: boolean): Address {
    if (this.mode.bitness === 64) return { slot: this.register(RSP), displacement: bytes, stack: true };
    return this.linear(SEGMENT_SS, this.stackOffset(bytes), size, write);
  }

  /** Add to the stack pointer. */
  moveStackPointer(bytes: bigint): void {
    const d = this.register(RSP);
    const { stackBytes } = this.mode;
    if (stackBytes === 2) this.setStackPointer(this.stackOffset(bytes));
    else this.emit(`addi${stackBytes * 8}nf`, { d, a: d, imm: bytes });
  }

  /** Load what is on top of the stack, into a new scratch slot or `d`. */
  loadTop(size: Size, d?: number): number {
    return this.load(this.#stackAddress(0n, size, false), size, false, d ?? this.temp());
  }

  push(size: Size, value: Value): void {
    const source = this.slot(value);
    this.store(this.#stackAddress(-BigInt(size), size, true), size, source);
    this.moveStackPointer(-BigInt(size));
  }

  // --- instruction pointer ---

  /** Offset of the next instruction in the code segment, as a value. */
  nextIp(): number {
    const d = this.temp();
    const { ip, length, bitness } = this.instruction;
    this.emit("ripadd", { d, imm: ip + BigInt(length) - this.blockIp });
    if (bitness !== 64) this.emit(`zx${bitness}`, { d, a: d });
    return d;
  }

  /** A target in the code segment as a distance from the block's first instruction. */
  #distance(target: bigint): bigint {
    return BigInt.asIntN(64, target - this.blockIp);
  }

  /** Bits that a branch cuts the instruction pointer to: its operand size. */
  get #ipBits(): number {
    const { operandSize, bitness } = this.instruction;
    return operandSize !== 0 ? operandSize * 8 : bitness;
  }

  /** Offset of the next instruction in the code segment. */
  get fallThrough(): bigint {
    const { ip, length } = this.instruction;
    return ip + BigInt(length);
  }

  /** End the block: go on at an offset in the code segment that is known. */
  jump(target: bigint): void {
    const distance = this.#distance(target);
    if (fits32(distance)) {
      this.emit(`jmp${this.#ipBits}`, { imm: distance });
      return;
    }
    const there = this.temp();
    this.emit("ripadd", { d: there, imm: distance });
    this.jumpTo(there);
  }

  /** End the block in front of an instruction that belongs to another. */
  continueAt(ip: bigint): void {
    this.emit(`jmp${this.instruction.bitness}`, { imm: this.#distance(ip) });
  }

  /** End the block: go on at the offset in a slot (zero-extended). */
  jumpTo(target: number): void {
    this.emit(`jmpi${this.#ipBits}`, { a: target });
  }

  /** End the block: branch on a condition code, or go on with the next instruction. */
  jumpIf(code: number, target: bigint): void {
    this.#branch(`jcc${code}_`, undefined, () => this.condition(code), target, this.#ipBits);
  }

  /** The same on a slot. */
  jumpIfNotZero(condition: number, target: bigint): void {
    this.#branch("jnz", condition, () => condition, target, this.#ipBits);
  }

  /** End the block: repeat the instruction if a slot is not zero. */
  repeatIfNotZero(condition: number): void {
    const { ip, bitness } = this.instruction;
    this.#branch("jnz", condition, () => condition, ip, bitness);
  }

  #branch(row: string, a: number | undefined, condition: () => number, target: bigint, bits: number): void {
    const { bitness } = this.instruction;
    const taken = this.#distance(target);
    const next = this.#distance(this.fallThrough);
    if (bits === bitness && fits32(taken) && fits32(next)) {
      const imm = BigInt.asUintN(32, taken) | (BigInt.asUintN(32, next) << 32n);
      this.emit(`${row}${bits}`, { imm, ...(a === undefined ? {} : { a }) });
      return;
    }
    // An operand size of its own cuts the instruction pointer only if the branch is taken.
    const holds = condition();
    const there = this.temp();
    const here = this.temp();
    this.emit("ripadd", { d: there, imm: taken });
    this.emit("ripadd", { d: here, imm: next });
    if (bits !== 64) this.emit(`zx${bits}`, { d: there, a: there });
    this.moveIf(here, holds, there);
    this.emit(`jmpi${bitness}`, { a: here });
  }

  /** Leave out what `body` writes if a slot is zero. */
  skipIfZero(value: number, body: () => void): void {
    const at = this.uops.length;
    this.emit("skipz", { a: value });
    body();
    const skip = this.uops[at];
    if (skip !== undefined) this.uops[at] = { ...skip, b: this.uops.length - at - 1 };
  }
}
