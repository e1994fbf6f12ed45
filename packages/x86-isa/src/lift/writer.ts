import { instructionPointerBits, type Bitness, type DecodedInstruction } from "../decode/instruction.js";
import { slot, TEMP_NUMBERS, VECTOR_TEMP_NUMBERS } from "../state/layout.js";
import { bitsOf, type Uop } from "../uops/definition.js";
import type { BinaryName, ComputeName, UopName } from "../uops/names.js";
import { uopNumber } from "../uops/table.js";
import type { CodeMode } from "./mode.js";

/** A source: the state offset of a slot, or a constant. */
export type Value = number | bigint;
export type Size = 1 | 2 | 4 | 8;
/** The low four bits of Jcc: 0 O, 1 NO, 2 B, ..., 15 G (SDM vol. 1, "EFLAGS Condition Codes"). */
export const CONDITION_CODES = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15] as const;
export type ConditionCode = (typeof CONDITION_CODES)[number];

const TEMPS = TEMP_NUMBERS.map((n) => slot(`t${n}`));
const VECTOR_TEMPS = VECTOR_TEMP_NUMBERS.map((n) => slot(`v${n}`));
const FLAGS_REST = slot("flagsRest");

/** Whether a constant fits 32 bits, signed. */
export const fits32 = (value: bigint): boolean => BigInt.asIntN(32, value) === BigInt.asIntN(64, value);

/** Writes micro-operations: values in scratch slots, conditions, exceptions, and where the block goes on. */
export class UopWriter {
  readonly uops: Uop[] = [];
  #nextTemp = 0;
  #nextVector = 0;
  #instruction: DecodedInstruction | undefined;

  /** @param blockIp offset in the code segment of the block's first instruction: state field `rip` while it runs */
  constructor(
    readonly mode: CodeMode,
    readonly blockIp: bigint,
  ) {}

  begin(instruction: DecodedInstruction): void {
    this.#instruction = instruction;
    this.#nextTemp = 0;
    this.#nextVector = 0;
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

  /** The same of 128 bits. */
  vectorTemp(): number {
    const at = VECTOR_TEMPS[this.#nextVector++];
    if (at === undefined) throw new RangeError("an instruction needs more vector scratch slots than there are");
    return at;
  }

  emit(name: UopName, fields: Partial<Omit<Uop, "op">> = {}): void {
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
  binary(name: BinaryName, size: Size, d: number, a: Value, b: Value): number {
    const width = bitsOf(size);
    if (typeof b === "bigint") this.emit(`${name}i${width}`, { d, a: this.slot(a), imm: BigInt.asIntN(width, b) });
    else this.emit(`${name}${width}`, { d, a: this.slot(a), b });
    return d;
  }

  /** The same on all 64 bits and without flags, into a new scratch slot. */
  compute(name: ComputeName, a: Value, b: Value): number {
    const d = this.temp();
    if (typeof b === "bigint") this.emit(`${name}i64nf`, { d, a: this.slot(a), imm: b });
    else this.emit(`${name}64nf`, { d, a: this.slot(a), b });
    return d;
  }

  /** A row `d = OP a` into a new scratch slot. */
  unary(name: UopName, a: Value): number {
    const d = this.temp();
    this.emit(name, { d, a: this.slot(a) });
    return d;
  }

  zeroExtend(value: Value, size: Size): Value {
    if (typeof value === "bigint") return BigInt.asUintN(size * 8, value);
    return size === 8 ? value : this.unary(`zx${bitsOf(size)}`, value);
  }

  signExtend(value: Value, size: Size): Value {
    if (typeof value === "bigint") return BigInt.asIntN(size * 8, value);
    return size === 8 ? value : this.unary(`sx${bitsOf(size)}`, value);
  }

  /** `d = condition ? a : d`, on all 64 bits. */
  moveIf(d: number, condition: number, a: Value): void {
    this.emit("cmovnz", { d, a: condition, b: this.slot(a) });
  }

  /** 1 or 0 by a condition code. */
  condition(code: ConditionCode): number {
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

  // --- instruction pointer ---

  /** Offset of the next instruction in the code segment, as a value. */
  nextIp(): number {
    const d = this.temp();
    const { ip, length, bitness } = this.instruction;
    this.emit("ripadd", { d, imm: ip + BigInt(length) - this.blockIp });
    if (bitness !== 64) this.emit("zx32", { d, a: d });
    return d;
  }

  /** A target in the code segment as a distance from the block's first instruction. */
  #distance(target: bigint): bigint {
    return BigInt.asIntN(64, target - this.blockIp);
  }

  /** Bits that a branch cuts the instruction pointer to: its operand size. */
  get #ipBits(): Bitness {
    const { operandSize, bitness } = this.instruction;
    return operandSize !== 0 ? bitsOf(operandSize) : bitness;
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
    this.emit(`jmp${instructionPointerBits(this.instruction.bitness)}`, { imm: this.#distance(ip) });
  }

  /** End the block: go on at the offset in a slot (zero-extended). */
  jumpTo(target: number): void {
    this.emit(`jmpi${this.#ipBits}`, { a: target });
  }

  /** End the block: branch on a condition code, or go on with the next instruction. */
  jumpIf(code: ConditionCode, target: bigint): void {
    this.#branch(`jcc${code}_`, undefined, () => this.condition(code), target, this.#ipBits);
  }

  /** The same on a slot. */
  jumpIfNotZero(condition: number, target: bigint): void {
    this.#branch("jnz", condition, () => condition, target, this.#ipBits);
  }

  /** End the block: repeat the instruction if a slot is not zero. */
  repeatIfNotZero(condition: number): void {
    const { ip, bitness } = this.instruction;
    this.#branch("jnz", condition, () => condition, ip, instructionPointerBits(bitness));
  }

  #branch(
    row: "jnz" | `jcc${ConditionCode}_`,
    a: number | undefined,
    condition: () => number,
    target: bigint,
    bits: Bitness,
  ): void {
    const sequential = instructionPointerBits(this.instruction.bitness);
    const taken = this.#distance(target);
    const next = this.#distance(this.fallThrough);
    if ((bits === sequential || (bits === 16 && sequential === 32)) && fits32(taken) && fits32(next)) {
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
    this.emit(`jmpi${sequential}`, { a: here });
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
