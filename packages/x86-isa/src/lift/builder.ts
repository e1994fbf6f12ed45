import type { MemoryOperand, Operand } from "../decode/instruction.js";
import {
  generalRegister,
  GPR_SLOTS,
  isInstructionPointer,
  NO_REGISTER,
  SEGMENT_BASE_SLOTS,
} from "../decode/registers.js";
import { bitsOf } from "../uops/definition.js";
import { ACCESS_FLAGS } from "../uops/memory.js";
import { fits32, UopWriter, type Size, type Value } from "./writer.js";

export { CONDITION_CODES, type ConditionCode, type Size, type Value } from "./writer.js";

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

const SEGMENT_SS = 2;
const SEGMENT_FS = 4;
export const RSP = 4;
export const RBP = 5;

/**
 * Writes the micro-operations of one instruction after another. Methods read like the manual's operation sections; what
 * they return are slots or constants.
 */
export class Builder extends UopWriter {
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
        this.emit(`ins${bitsOf(size)}`, { d, a: this.slot(value) });
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
    this.emit(`addi${bitsOf(addressSize)}nf`, { d, a: base, imm: displacement });
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

  /** The fields of a memory row for an address. */
  access(address: Address): { a: number; imm: bigint } {
    return {
      a: address.slot,
      imm: BigInt.asUintN(32, address.displacement) | (address.stack ? ACCESS_FLAGS.STACK : 0n),
    };
  }

  /**
   * Load zero-extended, into a new scratch slot or `d`. With `willWrite` the right to store there is checked at once.
   */
  load(address: Address, size: Size, willWrite = false, d = this.temp()): number {
    this.emit(`ld${bitsOf(size)}${willWrite ? "w" : ""}`, { d, ...this.access(address) });
    return d;
  }

  store(address: Address, size: Size, value: Value): void {
    const { a, imm } = this.access(address);
    this.emit(`st${bitsOf(size)}`, { b: this.slot(value), a, imm });
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
    else this.emit(`addi${bitsOf(stackBytes)}nf`, { d, a: d, imm: bytes });
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
}
