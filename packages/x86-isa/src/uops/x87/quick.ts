import { FSW } from "../../state/fx-image.js";
import { slot } from "../../state/layout.js";
import type { Label, WasmWriter } from "../../wasm/writer.js";
import type { PlainOp } from "../../wasm/opcodes.js";
import { X87_IMM } from "../../x87/encoding.js";
import type { UopEmitter } from "../definition.js";

/** Writes what leaves a value on the stack. */
export type Push = () => void;

/** FCW, FSW, tags and FOP lie in one word of 64 bits: shifts of the second and third. */
const FSW_SHIFT = 16n;
const TAGS_SHIFT = 32n;
const FCW_AT = "fcw";
const TOP_SHIFT = 27n;
const ST0 = slot("st0");
if (slot("fsw") !== slot("fcw") + 2 || slot("ftw") !== slot("fcw") + 4) {
  throw new RangeError("control, status and tags of the x87 are not contiguous");
}

/** Precision masked, 64 bits of precision, round to nearest: what the quick arithmetic is for. */
const CONTROL_MASK = 0xf20n;
const CONTROL_PLAIN = 0x320n;
const PRECISION_MASKED = 0x20n;
const ROUNDING_MASK = 0xc00n;

/** Exponent of 1.0, and of infinities and NaNs. */
export const BIAS = 16_383;
export const EXPONENT_MASK = 0x7fff;
export const SIGN_BIT = 0x8000;
export const INTEGER_BIT = -(1n << 63n);

const FIRST_LOCAL = 32;

/** A number of 80 bits in two locals: sign and exponent (i32), significand (i64). */
export interface Extended {
  readonly head: number;
  readonly significand: number;
}

/** What the control word has to say for a quick way to be right. */
export type ControlNeed = "none" | "plain" | "nearest" | "precision";

/**
 * The quick way of an x87 instruction: WebAssembly for common values in the common mode. Whatever it does not cover
 * branches to {@link slow} before anything has changed, and the row's bigint meaning does it all.
 */
export class Quick {
  readonly w: WasmWriter;
  /** FCW, FSW, tags and FOP as they were (i64); TOP (i32). */
  readonly header: number;
  readonly top: number;
  // Loads and stores have locals of their own below.
  #nextI64 = FIRST_LOCAL;
  #nextI32 = FIRST_LOCAL;
  #keptN: number | undefined;
  #keptImm: number | undefined;

  private constructor(
    readonly e: UopEmitter,
    private readonly slowly: Label,
  ) {
    this.w = e.w;
    this.header = this.i64();
    this.top = this.i32();
  }

  /** Write a quick way with the slow one behind it. */
  static write(e: UopEmitter, need: ControlNeed, body: (q: Quick) => void): void {
    const { w } = e;
    w.block((done) => {
      w.block((slowly) => {
        const q = new Quick(e, slowly);
        q.#begin(need);
        body(q);
        w.br(done);
      });
      e.evaluate();
    });
  }

  // --- WebAssembly in the order of formulas

  i64(): number {
    return this.e.i64(this.#nextI64++);
  }

  i32(): number {
    return this.e.i32(this.#nextI32++);
  }

  get(local: number): Push {
    return () => this.w.get(local);
  }

  set(local: number, value: Push): void {
    value();
    this.w.set(local);
  }

  long(value: bigint): Push {
    return () => this.w.i64(value);
  }

  int(value: number): Push {
    return () => this.w.i32(value);
  }

  op(name: PlainOp, ...operands: readonly Push[]): Push {
    return () => {
      for (const operand of operands) operand();
      this.w.op(name);
    };
  }

  if(condition: Push, then: () => void, otherwise?: () => void): void {
    condition();
    this.w.if(then, otherwise);
  }

  /** Take the slow way if the i32 is not zero. */
  slowIf(condition: Push): void {
    condition();
    this.w.brIf(this.slowly);
  }

  // --- registers

  #begin(need: ControlNeed): void {
    const { header } = this;
    this.set(header, () => this.e.get(FCW_AT));
    // Nothing is pending, and the control word is as it has to be.
    const pending = BigInt(FSW.ES) << FSW_SHIFT;
    const [mask, wanted] = CONTROL_NEEDS[need];
    this.slowIf(this.op("i64.ne", this.op("i64.and", this.get(header), this.long(mask | pending)), this.long(wanted)));
    this.set(
      this.top,
      this.op(
        "i32.and",
        this.op("i32.wrap_i64", this.op("i64.shr_u", this.get(header), this.long(TOP_SHIFT))),
        this.int(7),
      ),
    );
  }

  /** Number of the register that is ST(i), `i` being pushed as i32. */
  physical(i: Push): number {
    const local = this.i32();
    this.set(local, this.op("i32.and", this.op("i32.add", this.get(this.top), i), this.int(7)));
    return local;
  }

  /** Bit of a register in the tags, as i64 in the header. */
  tag(physical: number): Push {
    const shift = this.op("i64.add", this.op("i64.extend_i32_u", this.get(physical)), this.long(TAGS_SHIFT));
    return this.op("i64.shl", this.long(1n), shift);
  }

  #isValid(physical: number): Push {
    return this.op("i64.ne", this.op("i64.and", this.get(this.header), this.tag(physical)), this.long(0n));
  }

  needValue(physical: number): void {
    this.slowIf(this.op("i32.eqz", this.#isValid(physical)));
  }

  needRoom(physical: number): void {
    this.slowIf(this.#isValid(physical));
  }

  #offset(physical: number): Push {
    return this.op("i32.shl", this.get(physical), this.int(4));
  }

  /** The register's value, of whatever kind. */
  read(physical: number): Extended {
    const value = { head: this.i32(), significand: this.i64() };
    this.set(value.significand, () => this.e.field(this.#offset(physical), "i64.load", ST0));
    this.set(value.head, () => this.e.field(this.#offset(physical), "i32.load", ST0 + 8));
    return value;
  }

  write(physical: number, { head, significand }: Extended): void {
    this.e.setField(this.#offset(physical), this.get(significand), ST0);
    this.e.setField(this.#offset(physical), this.op("i64.extend_i32_u", this.get(head)), ST0 + 8);
  }

  /** The exponent field of a value. */
  exponent({ head }: Extended): Push {
    return this.op("i32.and", this.get(head), this.int(EXPONENT_MASK));
  }

  sign({ head }: Extended): Push {
    return this.op("i32.and", this.get(head), this.int(SIGN_BIT));
  }

  /** The slow way for all but normal numbers and zeros. */
  needPlain(value: Extended): void {
    const exponent = this.exponent(value);
    const normal = this.op(
      "i32.and",
      this.op("i32.lt_u", this.op("i32.sub", exponent, this.int(1)), this.int(EXPONENT_MASK - 1)),
      this.op("i64.lt_s", this.get(value.significand), this.long(0n)),
    );
    const zero = this.op(
      "i64.eqz",
      this.op("i64.or", this.get(value.significand), this.op("i64.extend_i32_u", exponent)),
    );
    this.slowIf(this.op("i32.eqz", this.op("i32.or", normal, zero)));
  }

  // --- the end

  /** The header with TOP and tags after a push of the register below TOP. */
  pushed(physical: number): void {
    this.#setTop(this.get(physical));
    this.set(this.header, this.op("i64.or", this.get(this.header), this.tag(physical)));
  }

  /** The header after pops of ST(0), and of ST(1) behind it. */
  popped(): void {
    this.set(
      this.header,
      this.op("i64.and", this.get(this.header), this.op("i64.xor", this.tag(this.top), this.long(-1n))),
    );
    const next = this.i32();
    this.set(next, this.op("i32.and", this.op("i32.add", this.get(this.top), this.int(1)), this.int(7)));
    this.#setTop(this.get(next));
    this.set(this.top, this.get(next));
  }

  /** The header after as many pops as the i32 says: 0 or 1. */
  poppedIf(count: Push): void {
    this.if(count, () => this.popped());
  }

  #setTop(value: Push): void {
    const cleared = this.op("i64.and", this.get(this.header), this.long(~(7n << TOP_SHIFT)));
    const placed = this.op("i64.shl", this.op("i64.extend_i32_u", value), this.long(TOP_SHIFT));
    this.set(this.header, this.op("i64.or", cleared, placed));
  }

  valid(physical: number): void {
    this.set(this.header, this.op("i64.or", this.get(this.header), this.tag(physical)));
  }

  /** Clear status bits, and set others: those pushed as i64, at their places in the header. */
  status(clear: number, set?: Push): void {
    const cleared = this.op("i64.and", this.get(this.header), this.long(~(BigInt(clear) << FSW_SHIFT)));
    this.set(this.header, set === undefined ? cleared : this.op("i64.or", cleared, set));
  }

  /** C1 and PE of a rounded result: `inexact` and `up` are 0 or 1 (i32). */
  rounded(inexact: number, up: number): void {
    const place = (flag: number, local: number): Push =>
      this.op("i64.mul", this.op("i64.extend_i32_u", this.get(local)), this.long(BigInt(flag) << FSW_SHIFT));
    this.status(FSW.C1, this.op("i64.or", place(FSW.PE, inexact), place(FSW.C1, up)));
  }

  /** Write header and instruction pointer. */
  end(): void {
    this.e.set(FCW_AT, this.get(this.header));
    const imm: Push = this.#keptImm === undefined ? () => this.e.imm() : this.get(this.#keptImm);
    const origin = this.op("i64.shr_u", imm, this.long(X87_IMM.OFFSET));
    const offset = this.op("i64.and", origin, this.long((1n << (X87_IMM.OPCODE - X87_IMM.OFFSET)) - 1n));
    this.e.set(
      "fip",
      this.op("i64.add", () => this.e.get("rip"), offset),
    );
  }

  /** Status bits that a condition (i32) stands for. */
  flag(condition: Push, bits: number): Push {
    return this.op("i64.mul", this.op("i64.extend_i32_u", condition), this.long(BigInt(bits) << FSW_SHIFT));
  }

  /** Bits of the small constant. */
  n(from: number, count: number): Push {
    const kept = this.#keptN;
    const n: Push = kept === undefined ? () => this.e.n() : this.get(kept);
    const shifted = this.op("i32.shr_u", n, this.int(from));
    return this.op("i32.and", from === 0 ? n : shifted, this.int((1 << count) - 1));
  }

  /** Before a store: it may hit this very instruction, whose micro-operation is then gone while it is being executed. */
  keepOperands(): void {
    this.#keptN = this.i32();
    this.set(this.#keptN, () => this.e.n());
    this.#keptImm = this.i64();
    this.set(this.#keptImm, () => this.e.imm());
  }

  /** The rounding-control field (i64). */
  rounding(): Push {
    return this.op("i64.and", this.get(this.header), this.long(ROUNDING_MASK));
  }
}

const CONTROL_NEEDS: Record<ControlNeed, readonly [mask: bigint, wanted: bigint]> = {
  none: [0n, 0n],
  plain: [CONTROL_MASK, CONTROL_PLAIN],
  nearest: [PRECISION_MASKED | ROUNDING_MASK, PRECISION_MASKED],
  precision: [PRECISION_MASKED, PRECISION_MASKED],
};
