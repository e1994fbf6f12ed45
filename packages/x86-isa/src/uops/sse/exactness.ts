import type { Label } from "../../wasm/writer.js";
import type { UopEmitter } from "../definition.js";
import type { Numbers } from "./numbers.js";

export type Rounded = "add" | "sub" | "mul" | "div" | "sqrt";

const HIDDEN = 1n << 52n;

/** Push the length in bits (i64) of the odd part of a double's significand; 1 for zero. */
function oddLength(e: UopEmitter, local: number): void {
  const { w } = e;
  w.i64(53n);
  w.get(local);
  w.op("i64.reinterpret_f64");
  w.i64(HIDDEN);
  w.op("i64.or", "i64.ctz", "i64.sub");
}

/** Bits that both factors must have clear for their product to fit a double whatever the others are. */
const LOW_HALF = (1n << 27n) - 1n;

/**
 * Push whether the product of two doubles has more than 53 bits, as i32. One of two odd parts with n and m bits has
 * n + m or one less: where that decides, branch to `slow`.
 */
function longProduct(e: UopEmitter, x: number, y: number, slow: Label): void {
  const { w } = e;
  w.get(x);
  w.op("i64.reinterpret_f64");
  w.get(y);
  w.op("i64.reinterpret_f64", "i64.or");
  w.i64(LOW_HALF);
  w.op("i64.and", "i64.eqz");
  w.if(
    () => w.i32(0),
    () => countProduct(e, x, y, slow),
    "i32",
  );
}

function countProduct(e: UopEmitter, x: number, y: number, slow: Label): void {
  const { w } = e;
  const length = e.i64(10);
  oddLength(e, x);
  oddLength(e, y);
  w.op("i64.add");
  w.tee(length);
  w.i64(54n);
  w.op("i64.eq");
  w.brIf(slow);
  w.get(length);
  w.i64(54n);
  w.op("i64.gt_s");
}

/**
 * Push whether x + y, rounded to nearest as r, has lost something; with `negative`, x - y. Taking the greater summand from r is
 * exact, so what is left is the other one only if r is exact (Dekker's Fast2Sum); asking for both saves a choice.
 */
function lossOfSum(n: Numbers, e: UopEmitter, x: number, y: number, r: number, negative: boolean): void {
  const { w } = e;
  w.get(r);
  w.get(x);
  n.op("sub");
  w.get(y);
  if (negative) n.op("neg");
  n.op("ne");
  w.get(r);
  w.get(y);
  n.op(negative ? "add" : "sub");
  w.get(x);
  n.op("ne");
  w.op("i32.or");
}

/** Push two singles as doubles and multiply: exact. */
function wideProduct(e: UopEmitter, x: number, y: number): void {
  for (const factor of [x, y]) {
    e.w.get(factor);
    e.w.op("f64.promote_f32");
  }
  e.w.op("f64.mul");
}

/**
 * Push whether a result r, normal or zero, of ordinary scalar operands differs from the exact one, as i32; branch to
 * `slow` where that is not simple to say. `y` is the only operand of a square root.
 */
export function pushInexact(
  n: Numbers,
  e: UopEmitter,
  operation: Rounded,
  [x, y, r]: readonly [number, number, number],
  slow: Label,
): void {
  const { w } = e;
  const single = n.shape.bits === 32;
  switch (operation) {
    case "add":
    case "sub":
      lossOfSum(n, e, x, y, r, operation === "sub");
      return;
    case "mul":
      if (!single) {
        longProduct(e, x, y, slow);
        return;
      }
      wideProduct(e, x, y);
      w.get(r);
      w.op("f64.promote_f32", "f64.ne");
      return;
    default: {
      // Exact if the quotient times the divisor, or the root times itself, is exact and gives the operand back.
      const [factor, product] = operation === "div" ? [y, x] : [r, y];
      if (single) {
        wideProduct(e, r, factor);
        w.get(product);
        w.op("f64.promote_f32", "f64.ne");
      } else {
        longProduct(e, r, factor, slow);
        w.get(r);
        w.get(factor);
        w.op("f64.mul");
        w.get(product);
        w.op("f64.ne", "i32.or");
      }
      // A zero is exact, also one that infinity has divided.
      w.get(product);
      n.constant(0);
      n.op("ne");
      w.op("i32.and");
    }
  }
}
