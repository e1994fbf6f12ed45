import {
  add,
  divide,
  firstWins,
  multiply,
  squareRoot,
  subtract,
  unpack,
  type FloatContext,
  type FloatFormat,
  type FloatValue,
} from "../../float/index.js";
import type { UopDefinition, UopEmitter, UopValues } from "../definition.js";
import { pushInexact, type Rounded } from "./exactness.js";
import { compute, setElements, SHAPES, split, VECTORS, type Lane, type Shape } from "./lanes.js";
import { Numbers, PLAIN_ROUNDING, quickly, settle } from "./numbers.js";

type Binary = (c: FloatContext, format: FloatFormat, x: FloatValue, y: FloatValue) => bigint;

const BINARY: Readonly<Record<Exclude<Rounded, "sqrt">, Binary>> = {
  add,
  sub: subtract,
  mul: multiply,
  div: divide,
};

/** The elements of a binary operation, each on its pair of encodings. */
const pairs = (shape: Shape, operations: readonly Binary[], xs: readonly bigint[], ys: readonly bigint[]): Lane[] =>
  xs.map((x, i) => (c) => {
    const operation = operations[i % operations.length] as Binary;
    const y = ys[i] as bigint;
    return operation(c, shape.format, unpack(shape.format, x, c.daz), unpack(shape.format, y, c.daz));
  });

const elements = ({ bits, count }: Shape, value: bigint): bigint[] => split(value, bits, count);

/**
 * The quick way of an operation: no operand is denormal and the result is normal, or a zero that no underflow has made. Then
 * there is no exception but that of the inexact result, for other operands show in the result.
 *
 * @param operands sets locals x and y
 */
function emitRounded(
  e: UopEmitter,
  shape: Shape,
  operation: Rounded,
  operands: (n: Numbers, x: number, y: number) => void,
): void {
  const n = new Numbers(e, shape);
  const { w } = e;
  const [x, y, r] = [n.local(0), n.local(1), n.local(2)];
  const zeros = {
    add: undefined,
    sub: undefined,
    sqrt: undefined,
    mul: () => {
      n.isZero(x);
      n.isZero(y);
      n.or();
    },
    div: () => n.isZero(x),
  } as const;
  quickly(e, (slow) => {
    operands(n, x, y);
    if (operation === "sqrt") {
      n.expectComparable(slow, y);
    } else {
      n.expectComparable(slow, x, y);
      w.get(x);
    }
    w.get(y);
    n.op(operation);
    w.set(r);
    n.expectResult(slow, r, zeros[operation]);
    settle(e, PLAIN_ROUNDING, slow, () => {
      w.i32(0);
      n.each([x, y, r], (scalar, [one, other, result]) => {
        pushInexact(scalar, e, operation, [one as number, other as number, result as number], slow);
        w.op("i32.or");
      });
    });
    n.store(r);
  });
}

const rows: UopDefinition[] = [];

/** Operations on one double that compiled code does most: measured, they gain a fourth by not being functions of their own. */
const INLINE: ReadonlySet<Rounded> = new Set(["add", "sub", "mul"]);

for (const shape of SHAPES) {
  const { suffix, format, count } = shape;
  const what = count === 1 ? "the low number" : "each number";
  for (const operation of ["add", "sub", "mul", "div"] as const) {
    rows.push({
      name: `${operation}${suffix}`,
      summary: `${what} of d = a ${operation} b in ${format.precision} bits, under MXCSR`,
      operands: ["d", "a", "b"],
      faults: true,
      outlined: !(suffix === "sd" && INLINE.has(operation)),
      wasm: (e) =>
        emitRounded(e, shape, operation, (n, x, y) => {
          n.push("a");
          e.w.set(x);
          n.push("b");
          e.w.set(y);
        }),
      evaluate: (v) =>
        setElements(
          v,
          shape,
          compute(v, pairs(shape, [BINARY[operation]], elements(shape, v.va()), elements(shape, v.vb()))),
        ),
    });
  }
  rows.push({
    name: `sqrt${suffix}`,
    summary: `${what} of d = square root of b, under MXCSR`,
    operands: ["d", "b"],
    faults: true,
    outlined: true,
    wasm: (e) =>
      emitRounded(e, shape, "sqrt", (n, _x, y) => {
        n.push("b");
        e.w.set(y);
      }),
    evaluate: (v) =>
      setElements(
        v,
        shape,
        compute(
          v,
          elements(shape, v.vb()).map((y) => (c) => squareRoot(c, format, unpack(format, y, c.daz))),
        ),
      ),
  });
  for (const which of ["min", "max"] as const) {
    rows.push({
      name: `${which}${suffix}`,
      summary: `${what} of d = a if that is ${which === "min" ? "less" : "greater"} than b, else b`,
      operands: ["d", "a", "b"],
      faults: true,
      outlined: true,
      wasm: (e) => emitExtreme(e, shape, which),
      evaluate: (v) => evaluateExtreme(v, shape, which),
    });
  }
}

function emitExtreme(e: UopEmitter, shape: Shape, which: "min" | "max"): void {
  const n = new Numbers(e, shape);
  const { w } = e;
  const [x, y, r] = [n.local(0), n.local(1), n.local(2)];
  quickly(e, (slow) => {
    n.push("a");
    w.set(x);
    n.push("b");
    w.set(y);
    n.expectComparable(slow, x, y);
    w.get(x);
    w.get(y);
    w.get(x);
    w.get(y);
    n.op(which === "min" ? "lt" : "gt");
    w.op(n.packed ? "v128.bitselect" : "select");
    w.set(r);
    n.store(r);
  });
}

function evaluateExtreme(v: UopValues, shape: Shape, which: "min" | "max"): void {
  const { format } = shape;
  const sign = BigInt(shape.bits - 1);
  const ys = elements(shape, v.vb());
  const lanes = elements(shape, v.va()).map((x, i): Lane => {
    const y = ys[i] as bigint;
    return (c) => {
      const [one, other] = [unpack(format, x, c.daz), unpack(format, y, c.daz)];
      const first = firstWins(c, which, one, other);
      const [bits, value] = first ? [x, one] : [y, other];
      // With DAZ a denormal is a zero as a result too.
      return value.kind === "zero" ? (bits >> sign) << sign : bits;
    };
  });
  setElements(v, shape, compute(v, lanes));
}

/** The numbers of two vectors that a horizontal operation takes together: even places, odd places. */
const EVEN = { 32: [0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19, 24, 25, 26, 27], 64: [0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23] } as const; // prettier-ignore

for (const shape of VECTORS) {
  const { suffix, bits } = shape;
  // Subtraction is the addition of the number with the other sign; only a NaN would tell.
  const [lowSigns, highSigns] = bits === 32 ? [0x8000_0000n, 0x8000_0000n] : [1n << 63n, 0n];
  rows.push({
    name: `addsub${suffix}`,
    summary: "each odd number of d = a + b, each even one a - b, under MXCSR",
    operands: ["d", "a", "b"],
    faults: true,
    outlined: true,
    wasm: (e) =>
      emitRounded(e, shape, "add", (n, x, y) => {
        n.push("a");
        e.w.set(x);
        n.push("b");
        e.w.v128(lowSigns, highSigns);
        e.w.op("v128.xor");
        e.w.set(y);
      }),
    evaluate: (v) =>
      setElements(
        v,
        shape,
        compute(v, pairs(shape, [subtract, add], elements(shape, v.va()), elements(shape, v.vb()))),
      ),
  });
  for (const operation of ["add", "sub"] as const) {
    rows.push({
      name: `h${operation}${suffix}`,
      summary: `numbers of d = a number of a, then of b, ${operation} its right neighbour, under MXCSR`,
      operands: ["d", "a", "b"],
      faults: true,
      outlined: true,
      wasm: (e) =>
        emitRounded(e, shape, operation, (n, x, y) => {
          const bytes = bits / 8;
          for (const [local, offset] of [
            [x, 0],
            [y, bytes],
          ] as const) {
            n.push("a");
            n.push("b");
            e.w.shuffle(EVEN[bits].map((byte) => byte + offset));
            e.w.set(local);
          }
        }),
      evaluate: (v) => {
        const all = [...elements(shape, v.va()), ...elements(shape, v.vb())];
        const left = all.filter((_, i) => i % 2 === 0);
        const right = all.filter((_, i) => i % 2 === 1);
        setElements(v, shape, compute(v, pairs(shape, [BINARY[operation]], left, right)));
      },
    });
  }
}

/** SSE, SSE2 and SSE3 arithmetic. */
export const SSE_ARITHMETIC: readonly UopDefinition[] = rows;
