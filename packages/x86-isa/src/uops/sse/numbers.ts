import type { Label } from "../../wasm/writer.js";
import type { PlainOp } from "../../wasm/opcodes.js";
import type { UopEmitter } from "../definition.js";
import type { Shape } from "./lanes.js";

/** MXCSR: rounding control, FTZ, DAZ; the mask and the flag of the inexact result. */
const ROUNDING_FTZ_DAZ = 0xe040;
const PRECISION_MASK = 0x1000;
const PRECISION_FLAG = 0x20;

/** Least normal and greatest finite numbers. */
const RANGE = {
  32: { least: 2 ** -126, greatest: 3.4028234663852886e38 },
  64: { least: 2 ** -1022, greatest: Number.MAX_VALUE },
} as const;

const PREFIXES = { ss: "f32", sd: "f64", ps: "f32x4", pd: "f64x2" } as const;
type Operation = "add" | "sub" | "mul" | "div" | "sqrt" | "abs" | "eq" | "ne" | "lt" | "le" | "gt" | "ge" | "neg";

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

/** Go on only while results are rounded to nearest with nothing flushed, and an inexact result is masked. */
export function expectPlainRounding(e: UopEmitter, slow: Label): void {
  e.get32("mxcsr");
  e.w.i32(ROUNDING_FTZ_DAZ | PRECISION_MASK);
  e.w.op("i32.and");
  e.w.i32(PRECISION_MASK);
  e.w.op("i32.ne");
  e.w.brIf(slow);
}

/** Go on only while an inexact result is masked. */
export function expectInexactMasked(e: UopEmitter, slow: Label): void {
  e.get32("mxcsr");
  e.w.i32(PRECISION_MASK);
  e.w.op("i32.and");
  expect(e, slow);
}

/** Set PE if the i32 that `inexact` pushes is true. It is not asked once PE is set. */
export function noteInexact(e: UopEmitter, inexact: () => void): void {
  const { w } = e;
  e.get32("mxcsr");
  w.i32(PRECISION_FLAG);
  w.op("i32.and", "i32.eqz");
  w.if(() => {
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

  and(): void {
    this.e.w.op(this.packed ? "v128.and" : "i32.and");
  }

  or(): void {
    this.e.w.op(this.packed ? "v128.or" : "i32.or");
  }

  /** Does the condition on the stack hold for every number? */
  all(): void {
    if (this.packed) this.e.w.op(this.shape.bits === 32 ? "i32x4.all_true" : "i64x2.all_true");
  }

  /** Push the condition that a local is zero. */
  isZero(local: number): void {
    this.e.w.get(local);
    this.constant(0);
    this.op("eq");
  }

  /** Push the condition that a local is normal and in a range of magnitudes, by default that of all normal numbers. */
  isNormal(
    local: number,
    comparison: "ge" | "gt" = "ge",
    { least, greatest }: { least: number; greatest: number } = RANGE[this.shape.bits],
  ): void {
    const { w } = this.e;
    w.get(local);
    this.op("abs");
    this.constant(least);
    this.op(comparison);
    w.get(local);
    this.op("abs");
    this.constant(greatest);
    this.op("le");
    this.and();
  }

  /** Push the condition that a local is normal or zero: not denormal, infinite or a NaN. */
  isOrdinary(local: number): void {
    this.isNormal(local);
    this.isZero(local);
    this.or();
  }

  /** Push the condition that a local is neither denormal nor a NaN, so that it can be compared without an exception. */
  isComparable(local: number): void {
    this.isNormal(local, "ge", { least: RANGE[this.shape.bits].least, greatest: Infinity });
    this.isZero(local);
    this.or();
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
