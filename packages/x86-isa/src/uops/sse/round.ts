import { add, multiply, roundToIntegral, ROUNDING, unpack, type Rounding } from "../../float/index.js";
import { FLOAT_EXCEPTION } from "../../float/context.js";
import type { UopDefinition, UopEmitter, UopValues } from "../definition.js";
import { compute, setElements, SHAPES, split, VECTORS, type Shape } from "./lanes.js";
import { INEXACT_MASKED, Numbers, quickly, settle } from "./numbers.js";

/** How ROUNDPS and its kind round: by their control byte, or as MXCSR says. Names of rows have it. */
export const ROUNDING_NAMES = ["near", "down", "up", "zero", ""] as const;
const BY_MXCSR = 4;
const OPERATIONS = ["nearest", "floor", "ceil", "trunc", "nearest"] as const;

/** Bit 3 of the control byte: an inexact result is not noted. */
const QUIET = 8;
const ROUNDING_CONTROL = 0x6000;

const elements = ({ bits, count }: Shape, value: bigint): bigint[] => split(value, bits, count);

/** Push whether any number of two locals differs. */
function pushDifference(n: Numbers, e: UopEmitter, x: number, y: number): void {
  e.w.get(x);
  e.w.get(y);
  n.op("ne");
  if (n.packed) e.w.op("v128.any_true");
}

function emitRound(e: UopEmitter, shape: Shape, how: number): void {
  const n = new Numbers(e, shape);
  const { w } = e;
  const [x, r] = [n.local(0), n.local(1)];
  quickly(e, (slow) => {
    n.push("b");
    w.set(x);
    n.expectComparable(slow, x);
    if (how === BY_MXCSR) {
      e.get32("mxcsr");
      w.i32(ROUNDING_CONTROL);
      w.op("i32.and");
      w.brIf(slow);
    }
    w.get(x);
    n.op(OPERATIONS[how] ?? "nearest");
    w.set(r);
    e.imm();
    w.i64(BigInt(QUIET));
    w.op("i64.and", "i64.eqz");
    w.if(() => settle(e, INEXACT_MASKED, slow, () => pushDifference(n, e, x, r)));
    n.store(r);
  });
}

function evaluateRound(v: UopValues, shape: Shape, how: number): void {
  const { format } = shape;
  const quiet = (v.imm() & BigInt(QUIET)) !== 0n;
  const lanes = elements(shape, v.vb()).map((x) => (c: Parameters<typeof roundToIntegral>[0]) => {
    const rounding = how === BY_MXCSR ? c.rounding : (how as Rounding);
    const result = roundToIntegral(c, format, unpack(format, x, c.daz), rounding);
    if (quiet) c.flags &= ~FLOAT_EXCEPTION.PE;
    return result;
  });
  setElements(v, shape, compute(v, lanes));
}

if (ROUNDING_NAMES.indexOf("zero") !== ROUNDING.ZERO) throw new RangeError("rounding modes are out of order");

const rounding = SHAPES.flatMap((shape) =>
  ROUNDING_NAMES.map((name, how): UopDefinition => ({
    name: `round${name}${shape.suffix}`,
    summary:
      `${shape.count === 1 ? "the low number" : "each number"} of d = b rounded to an integer ` +
      `${name === "" ? "as MXCSR says" : `(${name})`}; not noted if inexact where bit 3 of imm is set`,
    operands: ["d", "b", "imm"],
    faults: true,
    outlined: true,
    wasm: (e) => emitRound(e, shape, how),
    evaluate: (v) => evaluateRound(v, shape, how),
  })),
);

/** Products where bits 7:4 of imm are set, summed in pairs, the pairs summed; put where bits 3:0 are set, 0 elsewhere. */
function evaluateDotProduct(v: UopValues, shape: Shape): void {
  const { format, count } = shape;
  const chosen = (n: number): boolean => ((v.imm() >> BigInt(n)) & 1n) !== 0n;
  const [xs, ys] = [elements(shape, v.va()), elements(shape, v.vb())];
  let terms = compute(
    v,
    xs.map((x, i) => (c) => {
      if (!chosen(4 + i)) return 0n;
      return multiply(c, format, unpack(format, x, c.daz), unpack(format, ys[i] as bigint, c.daz));
    }),
  );
  while (terms.length > 1) {
    const pairs = Array.from({ length: terms.length / 2 }, (_, i) => [terms[2 * i], terms[2 * i + 1]] as const);
    terms = compute(
      v,
      pairs.map(
        ([x, y]) =>
          (c) =>
            add(c, format, unpack(format, x as bigint, c.daz), unpack(format, y as bigint, c.daz)),
      ),
    );
  }
  const sum = terms[0] as bigint;
  setElements(
    v,
    shape,
    Array.from({ length: count }, (_, i) => (chosen(i) ? sum : 0n)),
  );
}

const dotProducts = VECTORS.map((shape): UopDefinition => ({
  name: `dp${shape.suffix}`,
  summary: "d = dot product of a and b, elements chosen by imm, under MXCSR",
  operands: ["d", "a", "b", "imm"],
  faults: true,
  outlined: true,
  wasm: (e) => e.evaluate(),
  evaluate: (v) => evaluateDotProduct(v, shape),
}));

/** Rounding to integers, and dot products: the floating point of SSE4.1. */
export const SSE_ROUND: readonly UopDefinition[] = [...rounding, ...dotProducts];
