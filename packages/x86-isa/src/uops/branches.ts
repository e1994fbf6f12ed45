import { emitCarries, subFlags } from "./alu.js";
import type { UopDefinition, UopEmitter, UopValues } from "./definition.js";
import {
  branchTarget,
  emitBranch,
  emitFlags,
  emitSignExtend,
  emitZeroExtend,
  setFlags,
  signExtend,
  type Size,
} from "./parts.js";

/** A comparison of two numbers, for both of its uses. */
interface Relation {
  readonly name: "b" | "e" | "be" | "l" | "le";
  readonly signed: boolean;
  readonly wide: "i64.lt_u" | "i64.eq" | "i64.le_u" | "i64.lt_s" | "i64.le_s";
  readonly narrow: "i32.lt_u" | "i32.eq" | "i32.le_u" | "i32.lt_s" | "i32.le_s";
  holds(x: bigint, y: bigint): boolean;
}

const RELATIONS: readonly Relation[] = [
  { name: "b", signed: false, wide: "i64.lt_u", narrow: "i32.lt_u", holds: (x, y) => x < y },
  { name: "e", signed: false, wide: "i64.eq", narrow: "i32.eq", holds: (x, y) => x === y },
  { name: "be", signed: false, wide: "i64.le_u", narrow: "i32.le_u", holds: (x, y) => x <= y },
  { name: "l", signed: true, wide: "i64.lt_s", narrow: "i32.lt_s", holds: (x, y) => x < y },
  { name: "le", signed: true, wide: "i64.le_s", narrow: "i32.le_s", holds: (x, y) => x <= y },
];

const rows: UopDefinition[] = [];

/** Push whether the relation holds between the locals, of which the low `size` bits count. */
function emitRelation(e: UopEmitter, { signed, wide, narrow }: Relation, size: Size, x: number, y: number): void {
  for (const local of [x, y]) {
    e.w.get(local);
    if (size === 32) e.w.op("i32.wrap_i64");
    else if (signed) emitSignExtend(e, size);
    else emitZeroExtend(e, size);
  }
  e.w.op(size === 32 ? narrow : wide);
}

/** A comparison and the branch on it, which leaves the flags as the comparison does. */
function branch(test: boolean, relation: Relation, size: Size, immediate: boolean, ipBits: 32 | 64): void {
  const pushB = (e: UopEmitter): void => {
    if (!immediate) {
      e.b();
      return;
    }
    e.n();
    e.w.op("i64.extend_i32_u", "i64.extend16_s");
  };
  const valueB = (v: UopValues): bigint => (immediate ? signExtend(16, BigInt(v.n())) : v.b());
  const what = test ? "a & b to 0" : "a to b";
  rows.push({
    name: `${test ? "test" : "cmp"}${immediate ? "i" : ""}${size}j${relation.name}_${ipBits}`,
    summary:
      `flags of ${test ? "a & b" : "a - b"}, ${size}-bit${immediate ? ", b being n, sign-extended" : ""}; then RIP += low half ` +
      `of imm if ${what} is ${relation.name}, else += high half (signed); cut to ${ipBits} bits`,
    operands: ["a", immediate ? "n" : "b", "imm"],
    writesFlags: true,
    ends: true,
    ways: 2,
    wasm: (e) => {
      const { w } = e;
      const [a, b, r] = [e.i64(0), e.i64(1), e.i64(2)];
      e.a();
      w.set(a);
      pushB(e);
      w.set(b);
      w.get(a);
      w.get(b);
      w.op(test ? "i64.and" : "i64.sub");
      w.set(r);
      emitFlags(e, size, r, () => {
        if (test) w.i64(0n);
        else emitCarries(e, size, a, b, r, true);
      });
      if (test) {
        w.i64(0n);
        w.set(b);
      }
      emitBranch(e, ipBits, () => emitRelation(e, relation, size, test ? r : a, b));
    },
    evaluate: (v) => {
      const [a, b] = [v.a(), valueB(v)];
      const result = test ? a & b : a - b;
      setFlags(v, size, result, test ? { cf: 0n, of: 0n, af: 0n } : subFlags(size, a, b, 0n));
      const cut = (x: bigint): bigint => (relation.signed ? BigInt.asIntN(size, x) : BigInt.asUintN(size, x));
      const holds = test ? relation.holds(cut(result), 0n) : relation.holds(cut(a), cut(b));
      v.set("rip", branchTarget(v, ipBits, holds));
    },
  });
}

for (const [size, ipBits] of [
  [8, 32],
  [32, 32],
  [8, 64],
  [32, 64],
  [64, 64],
] as const) {
  for (const relation of RELATIONS) {
    for (const immediate of [false, true]) {
      branch(false, relation, size, immediate, ipBits);
      // After TEST nothing is below, and "below or equal" is "equal".
      if (relation.name !== "b" && relation.name !== "be") branch(true, relation, size, immediate, ipBits);
    }
  }
}

/** Compare and branch in one. */
export const BRANCHES: readonly UopDefinition[] = rows;
