import {
  divide,
  F32,
  packNan,
  QUIET,
  squareRoot,
  sseContext,
  unpack,
  packZero,
  packInfinity,
  type FloatValue,
} from "../../float/index.js";
import type { UopDefinition } from "../definition.js";
import { setElements, SHAPES, split } from "./lanes.js";
import { Numbers, quickly } from "./numbers.js";

const ONE = unpack(F32, 0x3f80_0000n);
/** Everything masked, round to nearest, denormals are zeros and tiny results too. */
const CONTEXT = 0x9fc0;

/**
 * RCPSS and RSQRTSS know no exception and do not look at MXCSR (SDM vol. 2, "RCPPS"). They may be off by 1.5 * 2^-12 of the value;
 * processors differ within that, and this one is off by the rounding of the division alone.
 */
const approximations = {
  rcp: (x: FloatValue): bigint => {
    if (x.kind === "nan") return packNan(F32, x.sign, x.significand);
    return divide(sseContext(CONTEXT), F32, ONE, x);
  },
  rsqrt: (x: FloatValue): bigint => {
    if (x.kind === "nan") return packNan(F32, x.sign, x.significand);
    if (x.kind === "zero") return packInfinity(F32, x.sign);
    if (x.sign === 1) return packNan(F32, 1, QUIET);
    if (x.kind === "infinity") return packZero(F32, 0);
    return divide(sseContext(CONTEXT), F32, ONE, unpack(F32, squareRoot(sseContext(CONTEXT), F32, x)));
  },
} as const;

const rows: UopDefinition[] = [];

for (const shape of SHAPES) {
  const { suffix, bits, count } = shape;
  if (bits !== 32) continue;
  for (const name of ["rcp", "rsqrt"] as const) {
    rows.push({
      name: `${name}${suffix}`,
      summary: `${count === 1 ? "the low number" : "each number"} of d = ${name === "rcp" ? "reciprocal" : "reciprocal of the square root"} of b, about`,
      operands: ["d", "b"],
      outlined: true,
      wasm: (e) => {
        const n = new Numbers(e, shape);
        const { w } = e;
        const [x, r] = [n.local(0), n.local(1)];
        quickly(e, (slow) => {
          n.push("b");
          w.set(x);
          n.constant(1);
          w.get(x);
          if (name === "rsqrt") n.op("sqrt");
          n.op("div");
          w.set(r);
          n.expectComparable(slow, x);
          n.expectOrdinary(slow, r);
          n.store(r);
        });
      },
      evaluate: (v) =>
        setElements(
          v,
          shape,
          split(v.vb(), bits, count).map((x) => approximations[name](unpack(F32, x, true))),
        ),
    });
  }
}

/** RCPPS, RSQRTPS and their scalar forms. */
export const SSE_APPROXIMATE: readonly UopDefinition[] = rows;
