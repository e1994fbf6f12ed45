import {
  convert,
  F32,
  F64,
  fromInteger,
  ROUNDING,
  toInteger,
  unpack,
  type FloatContext,
  type FloatFormat,
} from "../../float/index.js";
import type { PlainOp } from "../../wasm/opcodes.js";
import type { UopDefinition, UopEmitter } from "../definition.js";
import { compute, join, setElements, SHAPES, split, type Lane, type Shape } from "./lanes.js";
import { INEXACT_MASKED, Numbers, PLAIN_ROUNDING, quickly, settle } from "./numbers.js";

const shapeOf = (suffix: Shape["suffix"]): Shape => {
  const shape = SHAPES.find((each) => each.suffix === suffix);
  if (shape === undefined) throw new RangeError(`no shape ${suffix}`);
  return shape;
};
const SS = shapeOf("ss");
const SD = shapeOf("sd");
const PS = shapeOf("ps");
const PD = shapeOf("pd");

/** Magnitudes of doubles that round to normal singles whatever the last bits are. */
const SINGLE_RANGE = { least: 2 ** -125, greatest: 2 ** 127 };
/** Magnitudes that fit integers however they are rounded; the greatest number below the bound is chosen. */
const INTEGER_RANGE = {
  32: { least: 2 ** -126, greatest: 2 ** 31 - 128 },
  64: { least: 2 ** -126, greatest: 2 ** 62 },
} as const;

type Row = Omit<UopDefinition, "faults" | "outlined">;
const rows: UopDefinition[] = [];
const push = (row: Row): void => {
  rows.push({ ...row, faults: true, outlined: true });
};

const signed = (bits: number, value: bigint): bigint => BigInt.asIntN(bits, value);

// --- integers in general registers

for (const shape of [SS, SD]) {
  const { suffix, format } = shape;
  for (const bits of [32, 64] as const) {
    // Doubles hold all integers of 32 bits.
    const alwaysExact = bits < format.precision;
    push({
      name: `cvtsi${bits}${suffix}`,
      summary: `the low number of d = signed integer in the low ${bits} bits of a, under MXCSR`,
      operands: ["d", "a"],
      wasm: (e) => {
        const n = new Numbers(e, shape);
        const { w } = e;
        const [integer, r] = [e.i64(0), n.local(0)];
        quickly(e, (slow) => {
          e.a();
          if (bits === 32) w.op("i64.extend32_s");
          w.set(integer);
          w.get(integer);
          w.op(suffix === "ss" ? "f32.convert_i64_s" : "f64.convert_i64_s");
          w.set(r);
          if (!alwaysExact) {
            settle(e, PLAIN_ROUNDING, slow, () => {
              const most = 1n << BigInt(format.precision);
              w.get(integer);
              w.i64(most);
              w.op("i64.add");
              w.i64(2n * most);
              w.op("i64.gt_u");
              // Greater integers may be exact too.
              w.brIf(slow);
              w.i32(0);
            });
          }
          n.store(r);
        });
      },
      evaluate: (v) => setElements(v, shape, compute(v, [(c) => fromInteger(c, format, signed(bits, v.a()))])),
    });
    for (const truncate of [false, true]) {
      push({
        name: `cvt${truncate ? "t" : ""}${suffix}si${bits}`,
        summary:
          `d = the low number of b as a signed integer of ${bits} bits, zero-extended, ` +
          (truncate ? "truncated" : "rounded by MXCSR"),
        operands: ["d", "b"],
        wasm: (e) => emitToInteger(e, shape, bits, truncate),
        evaluate: (v) => {
          const [result] = compute(v, [
            (c) => toInteger(c, bits, unpack(format, v.b(), c.daz), truncate ? ROUNDING.ZERO : c.rounding),
          ]);
          v.setD(result ?? 0n);
        },
      });
    }
  }
}

/** Round local x to integers in local r. */
function roundToInteger(n: Numbers, e: UopEmitter, truncate: boolean, [x, r]: readonly [number, number]): void {
  const prefix = ({ ss: "f32", sd: "f64", ps: "f32x4", pd: "f64x2" } as const)[n.shape.suffix];
  e.w.get(x);
  e.w.op(`${prefix}.${truncate ? "trunc" : "nearest"}` satisfies PlainOp);
  e.w.set(r);
}

function emitToInteger(e: UopEmitter, shape: Shape, bits: 32 | 64, truncate: boolean): void {
  const n = new Numbers(e, shape);
  const { w } = e;
  const [x, r] = [n.local(0), n.local(1)];
  quickly(e, (slow) => {
    n.push("b");
    w.set(x);
    n.expectRange(slow, x, INTEGER_RANGE[bits]);
    roundToInteger(n, e, truncate, [x, r]);
    settle(e, truncate ? INEXACT_MASKED : PLAIN_ROUNDING, slow, () => {
      w.get(x);
      w.get(r);
      n.op("ne");
    });
    e.setD(() => {
      w.get(r);
      w.op(shape.bits === 32 ? "i64.trunc_sat_f32_s" : "i64.trunc_sat_f64_s");
      if (bits === 32) w.op("i32.wrap_i64", "i64.extend_i32_u");
    });
  });
}

// --- one format to the other

/** Convert the low `count` numbers of `from` in b; the rest of d stays, or is cleared with `clear`. */
function between(name: string, from: Shape, to: Shape, count: 1 | 2, wasm: (e: UopEmitter) => void): void {
  push({
    name,
    summary: `${count === 1 ? "the low number" : "two numbers"} of d = those of b in the other precision, under MXCSR${count === 2 && to === PS ? "; the others 0" : ""}`,
    operands: ["d", "b"],
    wasm,
    evaluate: (v) => {
      const source = count === 1 || from.bits === 32 ? v.b() : v.vb();
      const results = compute(
        v,
        split(source, from.bits, count).map((x) => (c) => convert(c, to.format, unpack(from.format, x, c.daz))),
      );
      setElements(v, to, count === 2 && to === PS ? [...results, 0n, 0n] : results);
    },
  });
}

between("cvtsssd", SS, SD, 1, (e) => {
  const [from, to] = [new Numbers(e, SS), new Numbers(e, SD)];
  const { w } = e;
  const [x, r] = [from.local(0), to.local(1)];
  quickly(e, (slow) => {
    from.push("b");
    w.set(x);
    from.expectOrdinary(slow, x);
    w.get(x);
    w.op("f64.promote_f32");
    w.set(r);
    to.store(r);
  });
});

between("cvtsdss", SD, SS, 1, (e) => {
  const [from, to] = [new Numbers(e, SD), new Numbers(e, SS)];
  const { w } = e;
  const [x, r] = [from.local(0), to.local(1)];
  quickly(e, (slow) => {
    from.push("b");
    w.set(x);
    from.expectRange(slow, x, SINGLE_RANGE);
    w.get(x);
    w.op("f32.demote_f64");
    w.set(r);
    settle(e, PLAIN_ROUNDING, slow, () => {
      w.get(r);
      w.op("f64.promote_f32");
      w.get(x);
      w.op("f64.ne");
    });
    to.store(r);
  });
});

/** Push the low half of vector or scalar slot b, with zeros above. */
const pushLowHalf = (e: UopEmitter): void => {
  e.w.v128(0n, 0n);
  e.b();
  e.w.lane("i64x2.replace_lane", 0);
};

between("cvtpspd", PS, PD, 2, (e) => {
  const n = new Numbers(e, PS);
  const { w } = e;
  const x = n.local(0);
  quickly(e, (slow) => {
    pushLowHalf(e);
    w.set(x);
    n.expectOrdinary(slow, x);
    e.setVD(() => {
      w.get(x);
      w.op("f64x2.promote_low_f32x4");
    });
  });
});

between("cvtpdps", PD, PS, 2, (e) => {
  const n = new Numbers(e, PD);
  const { w } = e;
  const [x, r] = [n.local(0), n.local(1)];
  quickly(e, (slow) => {
    n.push("b");
    w.set(x);
    n.expectRange(slow, x, SINGLE_RANGE);
    w.get(x);
    w.op("f32x4.demote_f64x2_zero");
    w.set(r);
    settle(e, PLAIN_ROUNDING, slow, () => {
      w.get(r);
      w.op("f64x2.promote_low_f32x4");
      w.get(x);
      w.op("f64x2.ne", "v128.any_true");
    });
    n.store(r);
  });
});

// --- packed integers

const integerLanes = (format: FloatFormat, value: bigint, count: number): Lane[] =>
  split(value, 32, count).map((x) => (c) => fromInteger(c, format, signed(32, x)));

push({
  name: "cvtdqpd",
  summary: "two numbers of d = the signed integers of 32 bits in the low half of b",
  operands: ["d", "b"],
  wasm: (e) =>
    e.setVD(() => {
      pushLowHalf(e);
      e.w.op("f64x2.convert_low_i32x4_s");
    }),
  evaluate: (v) => setElements(v, PD, compute(v, integerLanes(F64, v.b(), 2))),
});

for (const count of [2, 4] as const) {
  push({
    name: count === 4 ? "cvtdqps" : "cvtpips",
    summary: `${count} low numbers of d = the signed integers of 32 bits in b, under MXCSR`,
    operands: ["d", "b"],
    wasm: (e) => {
      const { w } = e;
      const x = e.v128(0);
      quickly(e, (slow) => {
        if (count === 4) e.vb();
        else pushLowHalf(e);
        w.set(x);
        settle(e, PLAIN_ROUNDING, slow, () => {
          // Integers of up to 24 bits are exact, and those that are longer may be.
          w.get(x);
          w.op("i32x4.abs");
          w.v128(0x0100_0000_0100_0000n, 0x0100_0000_0100_0000n);
          w.op("i32x4.gt_u", "v128.any_true");
          w.brIf(slow);
          w.i32(0);
        });
        const result = (): void => {
          w.get(x);
          w.op("f32x4.convert_i32x4_s");
        };
        if (count === 4) {
          e.setVD(result);
          return;
        }
        e.setD(() => {
          result();
          w.lane("i64x2.extract_lane", 0);
        });
      });
    },
    evaluate: (v) => setElements(v, PS, compute(v, integerLanes(F32, count === 4 ? v.vb() : v.b(), count))),
  });
}

/** Numbers of b to signed integers of 32 bits. `low`: two of a half vector, into a half vector. */
function packedToInteger(name: string, shape: Shape, truncate: boolean, low: boolean): void {
  const count = low ? 2 : shape.count;
  const { format, bits } = shape;
  push({
    name,
    summary:
      `d = ${count} numbers of b as signed integers of 32 bits, ${truncate ? "truncated" : "rounded by MXCSR"}` +
      (shape === PD ? "; bits 127:64 of d = 0" : ""),
    operands: ["d", "b"],
    wasm: (e) => {
      const n = new Numbers(e, shape);
      const { w } = e;
      const [x, r] = [n.local(0), n.local(1)];
      quickly(e, (slow) => {
        if (low) pushLowHalf(e);
        else n.push("b");
        w.set(x);
        n.expectRange(slow, x, INTEGER_RANGE[32]);
        roundToInteger(n, e, truncate, [x, r]);
        settle(e, truncate ? INEXACT_MASKED : PLAIN_ROUNDING, slow, () => {
          w.get(x);
          w.get(r);
          n.op("ne");
          w.op("v128.any_true");
        });
        const result = (): void => {
          w.get(r);
          w.op(bits === 32 ? "i32x4.trunc_sat_f32x4_s" : "i32x4.trunc_sat_f64x2_s_zero");
        };
        if (!low) {
          e.setVD(result);
          return;
        }
        e.setD(() => {
          result();
          w.lane("i64x2.extract_lane", 0);
        });
      });
    },
    evaluate: (v) => {
      const lane =
        (x: bigint): Lane =>
        (c: FloatContext) =>
          toInteger(c, 32, unpack(format, x, c.daz), truncate ? ROUNDING.ZERO : c.rounding);
      const result = join(compute(v, split(low ? v.b() : v.vb(), bits, count).map(lane)), 32);
      if (low) v.setD(result);
      else v.setVD(result);
    },
  });
}

for (const truncate of [false, true]) {
  const t = truncate ? "t" : "";
  packedToInteger(`cvt${t}psdq`, PS, truncate, false);
  packedToInteger(`cvt${t}pddq`, PD, truncate, false);
  packedToInteger(`cvt${t}pspi`, PS, truncate, true);
}

/** Conversions among single and double precision and integers. */
export const SSE_CONVERT: readonly UopDefinition[] = rows;
