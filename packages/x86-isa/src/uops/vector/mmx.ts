import { GuestException } from "../../environment.js";
import { slot } from "../../state/layout.js";
import type { UopDefinition, UopEmitter, UopValues } from "../definition.js";

const MATH_FAULT = 16;

if (slot("fsw") !== slot("fcw") + 2 || slot("ftw") !== slot("fcw") + 4 || slot("fcw") % 8 !== 0)
  throw new RangeError("the x87 status and tag words do not follow the control word");

/** Bits of the eight bytes from the control word on: FSW.ES, FSW.TOP, and the abridged tags, 1 for a valid register. */
const ERROR_SUMMARY = 1n << 23n;
const TOP = 7n << 27n;
const TAGS = 0xffn << 32n;

/** An instruction on MMX registers makes TOP 0 and all registers valid (SDM vol. 3, "Effect of MMX Instructions on x87 State"). */
const KEPT = BigInt.asUintN(64, ~TOP);

function emitTransition(e: UopEmitter): void {
  e.set("fcw", () => {
    e.get("fcw");
    e.w.i64(KEPT);
    e.w.op("i64.and");
    e.w.i64(TAGS);
    e.w.op("i64.or");
  });
}

const transition = (v: UopValues): void => v.set("fcw", (v.get("fcw") & KEPT) | TAGS);

/** MMX registers: the significands of x87 registers. */
export const MMX_ROWS: readonly UopDefinition[] = [
  {
    name: "mmxcheck",
    summary: "#MF if an x87 exception is pending",
    operands: [],
    faults: true,
    outlined: true,
    wasm: (e) => {
      e.get("fcw");
      e.w.i64(ERROR_SUMMARY);
      e.w.op("i64.and", "i64.eqz", "i32.eqz");
      e.w.if(() => e.raise(MATH_FAULT));
    },
    evaluate: (v) => {
      if ((v.get("fcw") & ERROR_SUMMARY) !== 0n) throw new GuestException(MATH_FAULT);
    },
  },
  {
    name: "mmxtop",
    summary: "the x87 stack's top is 0, and all its registers are valid",
    operands: [],
    outlined: true,
    wasm: emitTransition,
    evaluate: transition,
  },
  {
    name: "mmxset",
    summary: "MMX register d = 64 bits of a, its sign and exponent all ones; and mmxtop",
    operands: ["d", "a"],
    outlined: true,
    wasm: (e) => {
      emitTransition(e);
      e.setVD(() => {
        e.w.v128(0n, 0xffffn);
        e.a();
        e.w.lane("i64x2.replace_lane", 0);
      });
    },
    evaluate: (v) => {
      transition(v);
      v.setVD(v.a() | (0xffffn << 64n));
    },
  },
  {
    name: "emms",
    summary: "the x87 stack is empty, its top 0",
    operands: [],
    outlined: true,
    wasm: (e) =>
      e.set("fcw", () => {
        e.get("fcw");
        e.w.i64(BigInt.asUintN(64, ~(TOP | TAGS)));
        e.w.op("i64.and");
      }),
    evaluate: (v) => v.set("fcw", v.get("fcw") & BigInt.asUintN(64, ~(TOP | TAGS))),
  },
];
