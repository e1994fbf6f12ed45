import { compare, unpack, type Relation } from "../../float/index.js";
import type { UopDefinition, UopEmitter } from "../definition.js";
import { compute, SCALARS, setElements, SHAPES, split, type Shape } from "./lanes.js";
import { Numbers, quickly } from "./numbers.js";

/** The predicates of CMPPD by their number (SDM vol. 2, "CMPPD"). */
const PREDICATES: readonly {
  readonly name: string;
  /** Also quiet NaNs are invalid. */
  readonly signalling: boolean;
  readonly holds: readonly Relation[];
}[] = [
  { name: "eq", signalling: false, holds: ["equal"] },
  { name: "lt", signalling: true, holds: ["less"] },
  { name: "le", signalling: true, holds: ["less", "equal"] },
  { name: "unord", signalling: false, holds: ["unordered"] },
  { name: "neq", signalling: false, holds: ["less", "greater", "unordered"] },
  { name: "nlt", signalling: true, holds: ["equal", "greater", "unordered"] },
  { name: "nle", signalling: true, holds: ["greater", "unordered"] },
  { name: "ord", signalling: false, holds: ["less", "equal", "greater"] },
];

/** Comparisons of ordered numbers that say the same; the other two are constant. */
const ORDERED = ["eq", "lt", "le", undefined, "ne", "ge", "gt", undefined] as const;

const rows: UopDefinition[] = [];

/** Do `emit` on operands a and b in locals, in the quick way of numbers that WebAssembly compares as SSE does. */
function emitComparison(e: UopEmitter, shape: Shape, emit: (n: Numbers, x: number, y: number) => void): void {
  const n = new Numbers(e, shape);
  const [x, y] = [n.local(0), n.local(1)];
  quickly(e, (slow) => {
    n.push("a");
    e.w.set(x);
    n.push("b");
    e.w.set(y);
    n.expectComparable(slow, x, y);
    emit(n, x, y);
  });
}

for (const shape of SHAPES) {
  const { suffix, format, bits, count } = shape;
  const ones = (1n << BigInt(bits)) - 1n;
  for (const [number, { name, signalling, holds }] of PREDICATES.entries()) {
    rows.push({
      name: `cmp${name}${suffix}`,
      summary: `all bits of ${count === 1 ? "the low number" : "each number"} of d = whether a ${name} b`,
      operands: ["d", "a", "b"],
      faults: true,
      outlined: true,
      wasm: (e) => {
        const { w } = e;
        emitComparison(e, shape, (n, x, y) => {
          const pushMask = (): void => {
            const operation = ORDERED[number];
            if (operation === undefined) {
              const mask = name === "ord" ? -1n : 0n;
              if (n.packed) w.v128(mask, mask);
              else w.i32(Number(-mask));
              return;
            }
            w.get(x);
            w.get(y);
            n.op(operation);
          };
          if (n.packed) {
            e.setVD(pushMask);
            return;
          }
          e.setD(() => {
            if (bits === 32) {
              e.d();
              w.i64(-0x1_0000_0000n);
              w.op("i64.and");
            }
            w.i64(0n);
            pushMask();
            w.op("i64.extend_i32_u", "i64.sub");
            if (bits === 32) {
              w.i64(ones);
              w.op("i64.and", "i64.or");
            }
          });
        });
      },
      evaluate: (v) => {
        const ys = split(v.vb(), bits, count);
        const lanes = split(v.va(), bits, count).map((x, i) => (c: Parameters<typeof compare>[0]) => {
          const y = unpack(format, ys[i] as bigint, c.daz);
          return holds.includes(compare(c, unpack(format, x, c.daz), y, signalling)) ? ones : 0n;
        });
        setElements(v, shape, compute(v, lanes));
      },
    });
  }
}

/** The lazy flags that hold ZF, PF and CF as COMISD sets them, with OF, SF and AF clear. */
const FLAGS: Readonly<Record<Relation, { readonly result: bigint; readonly aux: bigint }>> = {
  // A result of 0 sets ZF and PF, one of 1 clears both; bits 63 and 62 together are CF; bit 8 turns PF round.
  unordered: { result: 0n, aux: 3n << 62n },
  equal: { result: 0n, aux: 1n << 8n },
  less: { result: 1n, aux: 3n << 62n },
  greater: { result: 1n, aux: 0n },
};

const RELATIONS: readonly Relation[] = ["greater", "less", "equal", "unordered"];

for (const shape of SCALARS) {
  const { suffix, format, bits } = shape;
  for (const signalling of [false, true]) {
    rows.push({
      name: `${signalling ? "comi" : "ucomi"}${suffix}`,
      summary: "ZF, PF, CF = how the low numbers of a and b compare; OF, SF, AF = 0",
      operands: ["a", "b"],
      writesFlags: true,
      faults: true,
      outlined: true,
      wasm: (e) => {
        const { w } = e;
        emitComparison(e, shape, (n, x, y) => {
          e.set("flagResult", () => {
            w.get(x);
            w.get(y);
            n.op("ne");
            w.op("i64.extend_i32_u");
          });
          e.set("flagAux", () => {
            w.i64(FLAGS.equal.aux);
            w.i64(FLAGS.less.aux);
            w.i64(FLAGS.greater.aux);
            w.get(x);
            w.get(y);
            n.op("lt");
            w.op("select");
            w.get(x);
            w.get(y);
            n.op("eq");
            w.op("select");
          });
        });
      },
      evaluate: (v) => {
        const [relation] = compute(v, [
          (c) => {
            const x = unpack(format, BigInt.asUintN(bits, v.a()), c.daz);
            const y = unpack(format, BigInt.asUintN(bits, v.b()), c.daz);
            return BigInt(RELATIONS.indexOf(compare(c, x, y, signalling)));
          },
        ]);
        const { result, aux } = FLAGS[RELATIONS[Number(relation)] ?? "unordered"];
        v.set("flagResult", result);
        v.set("flagAux", aux);
      },
    });
  }
}

/** CMPPS and its kind by predicate, COMISS, UCOMISS. */
export const SSE_COMPARE: readonly UopDefinition[] = rows;

/** Names of the predicates, by the low three bits of CMPPD's constant. */
export const PREDICATE_NAMES: readonly string[] = PREDICATES.map(({ name }) => name);
