import {
  F80,
  F80_DOUBLE,
  F80_SINGLE,
  FLOAT_EXCEPTION,
  packIndefinite,
  PRE_COMPUTATION,
  unpack,
  x87Context,
  type FloatContext,
  type FloatFormat,
  type FloatValue,
} from "../float/index.js";
import { GuestException, type AccessSize, type MemoryAccess } from "../environment.js";
import type { CpuState } from "../state/cpu-state.js";
import { FSW, FSW_TOP_SHIFT, controlWord, statusWord } from "../state/fx-image.js";
import { SEGMENT_NAMES, slot } from "../state/layout.js";
import { is64Bit } from "../system/mode.js";
import { VECTOR } from "../tables/vectors.js";
import { ACCESS_FLAGS } from "../uops/memory.js";
import type { UopValues } from "../uops/definition.js";
import { unpackOrigin } from "./encoding.js";

const AT = {
  rip: slot("rip"),
  fcw: slot("fcw"),
  fsw: slot("fsw"),
  ftw: slot("ftw"),
  fop: slot("fop"),
  fip: slot("fip"),
  fdp: slot("fdp"),
  st0: slot("st0"),
} as const;
const REGISTER_BYTES = 16;
const SEGMENT_FS = 4;

/** Results by the precision-control field; the reserved value means double extended precision too. */
const RESULT_FORMATS: readonly FloatFormat[] = [F80_SINGLE, F80, F80_DOUBLE, F80];

/** The answer to an invalid operation. */
export const INDEFINITE = packIndefinite(F80);

/** What the stack lacks: a value to take, or room for another. */
export type StackFault = "underflow" | "overflow";

/**
 * The registers of the x87 while one instruction works on them. Nothing is changed before the instruction is known to
 * complete, or to end with an unmasked exception.
 */
export class X87 {
  readonly #s: CpuState;
  readonly fcw: number;

  constructor(private readonly v: UopValues) {
    this.#s = v.machine.state;
    this.fcw = this.#s.view.getUint16(AT.fcw, true);
  }

  get state(): CpuState {
    return this.#s;
  }

  /** An exception that an earlier instruction has left is raised by the next that waits for it. */
  wait(): void {
    if ((this.fsw & FSW.ES) !== 0) throw new GuestException(VECTOR.MF);
  }

  // --- control, status and tags

  get fsw(): number {
    return this.#s.view.getUint16(AT.fsw, true);
  }

  set fsw(value: number) {
    this.#s.view.setUint16(AT.fsw, value, true);
  }

  /** One bit a register, set where it is not empty. */
  get tags(): number {
    return this.#s.view.getUint16(AT.ftw, true);
  }

  set tags(value: number) {
    this.#s.view.setUint16(AT.ftw, value & 0xff, true);
  }

  get top(): number {
    return (this.fsw & FSW.TOP) >> FSW_TOP_SHIFT;
  }

  set top(value: number) {
    this.fsw = (this.fsw & ~FSW.TOP) | ((value & 7) << FSW_TOP_SHIFT);
  }

  /** Load the control word; exceptions that it unmasks are pending. */
  setControl(value: number): void {
    const fcw = controlWord(value);
    this.#s.view.setUint16(AT.fcw, fcw, true);
    this.fsw = statusWord(this.fsw, fcw);
  }

  /** Set C0, C1, C2 and C3. */
  setConditions(bits: number): void {
    this.fsw = (this.fsw & ~(FSW.C0 | FSW.C1 | FSW.C2 | FSW.C3)) | bits;
  }

  context(): FloatContext {
    return x87Context(this.fcw);
  }

  /** What results of the basic arithmetic are rounded to. */
  get resultFormat(): FloatFormat {
    return RESULT_FORMATS[(this.fcw >> 8) & 3] ?? F80;
  }

  // --- the stack

  #physical(i: number): number {
    return (this.top + i) & 7;
  }

  isEmpty(i: number): boolean {
    return (this.tags & (1 << this.#physical(i))) === 0;
  }

  /** The 80 bits of ST(i). */
  bits(i: number): bigint {
    const at = AT.st0 + this.#physical(i) * REGISTER_BYTES;
    return this.#s.get64(at) | (BigInt(this.#s.view.getUint16(at + 8, true)) << 64n);
  }

  value(i: number): FloatValue {
    return unpack(F80, this.bits(i));
  }

  /** Write ST(i), which is not empty then. */
  put(i: number, bits: bigint): void {
    const physical = this.#physical(i);
    const at = AT.st0 + physical * REGISTER_BYTES;
    this.#s.set64(at, BigInt.asUintN(64, bits));
    this.#s.set64(at + 8, bits >> 64n);
    this.tags |= 1 << physical;
  }

  free(i: number): void {
    this.tags &= ~(1 << this.#physical(i));
  }

  pop(count: number): void {
    for (; count > 0; count--) {
      this.free(0);
      this.top = this.top + 1;
    }
  }

  push(bits: bigint): void {
    this.top = this.top - 1;
    this.put(0, bits);
  }

  // --- how an instruction ends

  /** Remember where the instruction is. Control instructions do not. */
  point(): void {
    const { offset } = unpackOrigin(this.v.imm());
    this.#s.set64(AT.fip, BigInt.asUintN(64, this.#s.get64(AT.rip) + BigInt(offset)));
  }

  /** Note exceptions, and C1; the instruction's pointers follow. */
  note(exceptions: number, c1: boolean): void {
    this.point();
    const fsw = (this.fsw & ~FSW.C1) | exceptions | (c1 ? FSW.C1 : 0);
    this.fsw = statusWord(fsw, this.fcw);
    // Opcode and data pointer are kept for unmasked exceptions alone.
    if ((exceptions & ~this.fcw & FSW.EXCEPTIONS) === 0) return;
    const { opcode, segment } = unpackOrigin(this.v.imm());
    this.#s.view.setUint16(AT.fop, opcode, true);
    if (segment !== undefined) this.#s.set64(AT.fdp, this.#dataPointer(segment));
  }

  /** The offset of the memory operand in its segment. */
  #dataPointer(segment: number): bigint {
    const long = is64Bit(this.#s);
    const based = !long || segment >= SEGMENT_FS;
    const base = based ? this.#s.segment(SEGMENT_NAMES[segment] ?? "ds").base : 0n;
    return BigInt.asUintN(long ? 64 : 32, this.linear - base);
  }

  /** Note a stack fault. True: it is masked, so that the indefinite value takes the place of the missing one. */
  fault(kind: StackFault): boolean {
    this.note(FSW.IE | FSW.SF, kind === "overflow");
    return (this.fcw & FSW.IE) !== 0;
  }

  /**
   * End an operation that may have met exceptions: one that is found before the computation and is not masked keeps the
   * result from being written.
   */
  finish(c: FloatContext, write: () => void): void {
    if ((c.flags & ~c.masks & PRE_COMPUTATION) !== 0) {
      this.note(c.flags & PRE_COMPUTATION, false);
      return;
    }
    write();
    this.note(c.flags, (c.flags & FLOAT_EXCEPTION.PE) !== 0 && c.roundedUp);
  }

  /** Push the result of an operation that needs room for it. */
  finishPush(c: FloatContext, bits: bigint): void {
    this.finish(c, () => this.push(bits));
  }

  /** Is there room for a value? If not, the stack fault has been dealt with. */
  hasRoom(): boolean {
    if (this.isEmpty(7)) return true;
    if (this.fault("overflow")) this.push(INDEFINITE);
    return false;
  }

  // --- memory

  get linear(): bigint {
    return BigInt.asUintN(64, this.v.a() + BigInt.asIntN(32, this.v.imm()));
  }

  #access(write: boolean): MemoryAccess {
    return (this.v.imm() & ACCESS_FLAGS.STACK) !== 0n ? { write, stack: true } : { write };
  }

  /** Read of the memory operand, some bytes on. */
  load(size: AccessSize, offset = 0): bigint {
    return this.v.machine.load(this.#at(offset), size, this.#access(false));
  }

  /** Write to the memory operand, some bytes on; several writes are probed before. */
  store(size: AccessSize, value: bigint, offset = 0): void {
    this.v.machine.store(this.#at(offset), size, value, this.#access(true));
  }

  /** Raise what a write of so many bytes would meet. */
  probe(size: number): void {
    this.v.machine.probe(this.linear, size, this.#access(true));
  }

  #at(offset: number): bigint {
    return BigInt.asUintN(is64Bit(this.#s) ? 64 : 32, this.linear + BigInt(offset));
  }
}
