import type { Label } from "../../wasm/writer.js";
import type { PlainOp } from "../../wasm/opcodes.js";
import type { UopEmitter } from "../definition.js";
import type { Shape } from "./lanes.js";

/** MXCSR: rounding control; the mask and the flag of the inexact result. DAZ and FTZ change nothing where nothing is denormal. */
const ROUNDING_CONTROL = 0x6000;
const PRECISION_MASK = 0x1000;
const PRECISION_FLAG = 0x20;

/** Least normal and greatest finite numbers. */
const RANGE = {
  32: { least: 2 ** -126, greatest: 3.4028234663852886e38 },
  64: { least: 2 ** -1022, greatest: Number.MAX_VALUE },
} as const;

const PREFIXES = { ss: "f32", sd: "f64", ps: "f32x4", pd: "f64x2" } as const;
type Operation =
  | ("add" | "sub" | "mul" | "div" | "sqrt" | "abs" | "eq" | "ne" | "lt" | "le" | "gt" | "ge" | "neg")
  | ("nearest" | "floor" | "ceil" | "trunc");

/**
 * A row in two ways: `quick` writes the common case and branches to its label from wherever the case is not common; the
 * rest goes to the bigint meaning. Nothing may have been changed before such a branch.
 */
export function quickly(e: UopEmitter, quick: (slow: Label) => void): void {
  const { w } = e;
  w.block((done) => {
    w.block((slow) => {
      quick(slow);
      w.br(done);
    });
    e.evaluate();
  });
}

/** Branch to `slow` unless the i32 on the stack is true. */
export function expect(e: UopEmitter, slow: Label): void {
  e.w.op("i32.eqz");
  e.w.brIf(slow);
}

/** What MXCSR has to say for a row's quick way. */
export const PLAIN_ROUNDING = ROUNDING_CONTROL | PRECISION_MASK;
export const INEXACT_MASKED = PRECISION_MASK;

/**
 * Go on only while MXCSR rounds to nearest, where `which` says that this matters, and masks an inexact result.
 * Set PE if the i32 that `inexact` pushes is true; once PE is set, it is not asked.
 */
export function settle(
  e: UopEmitter,
  which: typeof PLAIN_ROUNDING | typeof INEXACT_MASKED,
  slow: Label,
  inexact: () => void,
): void {
  const { w } = e;
  e.get32("mxcsr");
  w.i32(which | PRECISION_FLAG);
  w.op("i32.and");
  w.i32(PRECISION_MASK | PRECISION_FLAG);
  w.op("i32.ne");
  w.if(() => {
    e.get32("mxcsr");
    w.i32(which);
    w.op("i32.and");
    w.i32(PRECISION_MASK);
    w.op("i32.ne");
    w.brIf(slow);
    inexact();
    w.if(() =>
      e.set32("mxcsr", () => {
        e.get32("mxcsr");
        w.i32(PRECISION_FLAG);
        w.op("i32.or");
      }),
    );
  });
}

/** Writes WebAssembly over the numbers of one shape, scalar or packed alike. Conditions on packed numbers are masks. */
export class Numbers {
  readonly packed: boolean;
  private readonly prefix: (typeof PREFIXES)[Shape["suffix"]];

  constructor(
    private readonly e: UopEmitter,
    readonly shape: Shape,
  ) {
    this.packed = shape.count > 1;
    this.prefix = PREFIXES[shape.suffix];
  }

  local(index: number): number {
    if (this.packed) return this.e.v128(index);
    return this.shape.bits === 32 ? this.e.f32(index) : this.e.f64(index);
  }

  op(...names: readonly Operation[]): void {
    for (const name of names) this.e.w.op(`${this.prefix}.${name}` satisfies PlainOp);
  }

  constant(value: number): void {
    const { w } = this.e;
    if (!this.packed) {
      if (this.shape.bits === 32) w.f32(value);
      else w.f64(value);
      return;
    }
    const view = new DataView(new ArrayBuffer(8));
    if (this.shape.bits === 64) view.setFloat64(0, value, true);
    else for (const at of [0, 4]) view.setFloat32(at, value, true);
    const half = view.getBigUint64(0, true);
    w.v128(half, half);
  }

  /** Push operand `a`, `b` or `d`. */
  push(operand: "a" | "b" | "d"): void {
    const { e } = this;
    if (this.packed) {
      e[`v${operand}`]();
      return;
    }
    e[operand]();
    if (this.shape.bits === 32) e.w.op("i32.wrap_i64", "f32.reinterpret_i32");
    else e.w.op("f64.reinterpret_i64");
  }

  /** Store a local to `d`; the single-precision scalar leaves bits 63:32 alone. */
  store(local: number): void {
    const { e } = this;
    const { w } = e;
    if (this.packed) {
      e.setVD(() => w.get(local));
      return;
    }
    e.setD(() => {
      if (this.shape.bits === 64) {
        w.get(local);
        w.op("i64.reinterpret_f64");
        return;
      }
      e.d();
      w.i64(-0x1_0000_0000n);
      w.op("i64.and");
      w.get(local);
      w.op("i32.reinterpret_f32", "i64.extend_i32_u", "i64.or");
    });
  }

  /** Push the condition that a local is zero. */
  isZero(local: number): void {
    this.e.w.get(local);
    this.constant(0);
    this.op("eq");
  }

  /** Join the two masks on the stack. */
  and(): void {
    this.e.w.op(this.packed ? "v128.and" : "i32.and");
  }

  or(): void {
    this.e.w.op(this.packed ? "v128.or" : "i32.or");
  }

  #abs(local: number): void {
    this.e.w.get(local);
    this.op("abs");
  }

  /** Push the bits of a scalar local without the sign, shifted to the left by one. */
  #doubled(local: number): void {
    const { w } = this.e;
    w.get(local);
    if (this.shape.bits === 32) {
      w.op("i32.reinterpret_f32");
      w.i32(1);
      w.op("i32.shl");
      return;
    }
    w.op("i64.reinterpret_f64");
    w.i64(1n);
    w.op("i64.shl");
  }

  /**
   * Branch to `slow` unless a scalar local's magnitude is in the range from the lowest number of one biased exponent to
   * the lowest of another, inclusively, or it is zero and `zero` has nothing against that.
   */
  #expectExponent(local: number, slow: Label, first: number, last: number, zero?: () => void): void {
    const { w } = this.e;
    const step = this.shape.bits === 32 ? 24 : 53;
    this.#doubled(local);
    if (this.shape.bits === 32) {
      w.i32((first << step) | 0);
      w.op("i32.sub");
      w.i32(((last - first) << step) | 0);
      w.op("i32.gt_u");
    } else {
      w.i64(BigInt(first) << BigInt(step));
      w.op("i64.sub");
      w.i64(BigInt.asIntN(64, BigInt(last - first) << BigInt(step)));
      w.op("i64.gt_u");
    }
    w.if(() => {
      this.#doubled(local);
      w.op(this.shape.bits === 32 ? "i32.eqz" : "i64.eqz");
      expect(this.e, slow);
      zero?.();
    });
  }

  /** Go on only with numbers that are neither denormal nor NaNs: they can be compared without an exception. */
  expectComparable(slow: Label, ...locals: readonly number[]): void {
    const { w } = this.e;
    const { least } = RANGE[this.shape.bits];
    if (!this.packed) {
      // Infinity has the lowest encoding of its exponent: what is above is a NaN.
      for (const local of locals) this.#expectExponent(local, slow, 1, this.shape.bits === 32 ? 255 : 2047);
      return;
    }
    for (const [i, local] of locals.entries()) {
      this.#abs(local);
      this.constant(least);
      this.op("ge");
      this.isZero(local);
      this.or();
      if (i > 0) this.and();
    }
    w.op(this.shape.bits === 32 ? "i32x4.all_true" : "i64x2.all_true");
    expect(this.e, slow);
  }

  /**
   * Go on only with results that are normal, and not at the lower end of the normal numbers, where a tiny result may have
   * been rounded up; or with zeros where the mask that `zeroIsExact` pushes says that no underflow has made them.
   */
  expectResult(slow: Label, local: number, zeroIsExact: (() => void) | undefined): void {
    const { w } = this.e;
    const { least, greatest } = RANGE[this.shape.bits];
    if (!this.packed) {
      const zero = (): void => {
        zeroIsExact?.();
        expect(this.e, slow);
      };
      // Of the highest exponent the lowest number alone passes: few numbers are as great, and infinity must not.
      const last = this.shape.bits === 32 ? 254 : 2046;
      this.#expectExponent(local, slow, 2, last, zeroIsExact === undefined ? undefined : zero);
      return;
    }
    this.#abs(local);
    this.constant(least);
    this.op("gt");
    this.#abs(local);
    this.constant(greatest);
    this.op("le");
    this.and();
    this.isZero(local);
    if (zeroIsExact !== undefined) {
      zeroIsExact();
      this.and();
    }
    this.or();
    w.op(this.shape.bits === 32 ? "i32x4.all_true" : "i64x2.all_true");
    expect(this.e, slow);
  }

  /** Go on only with zeros and numbers of a range of magnitudes. */
  expectRange(slow: Label, local: number, { least, greatest }: { least: number; greatest: number }): void {
    const { w } = this.e;
    this.#abs(local);
    this.constant(least);
    this.op("ge");
    this.#abs(local);
    this.constant(greatest);
    this.op("le");
    this.and();
    this.isZero(local);
    this.or();
    if (this.packed) w.op(this.shape.bits === 32 ? "i32x4.all_true" : "i64x2.all_true");
    expect(this.e, slow);
  }

  /** The same with all normal numbers. */
  expectOrdinary(slow: Label, local: number): void {
    this.expectRange(slow, local, RANGE[this.shape.bits]);
  }

  /** Put each number of the shape into a scalar local, one after another: `body` is run over each of them. */
  each(locals: readonly number[], body: (scalar: Numbers, locals: readonly number[]) => void): void {
    const { e, shape } = this;
    const { w } = e;
    if (!this.packed) {
      body(this, locals);
      return;
    }
    const scalar = new Numbers(e, { ...shape, suffix: shape.bits === 32 ? "ss" : "sd", count: 1 });
    const parts = locals.map((_, i) => scalar.local(10 + i));
    for (let lane = 0; lane < shape.count; lane++) {
      for (const [i, part] of parts.entries()) {
        w.get(locals[i] as number);
        w.lane(shape.bits === 32 ? "f32x4.extract_lane" : "f64x2.extract_lane", lane);
        w.set(part);
      }
      body(scalar, parts);
    }
  }
}
