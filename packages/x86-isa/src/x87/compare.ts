import { compare, type FloatValue, type Relation } from "../float/index.js";
import { FSW } from "../state/fx-image.js";
import type { UopValues } from "../uops/definition.js";
import { encodeFlags } from "../state/flags.js";
import type { X87 } from "./registers.js";
import { integerValue, loadSource, type Source } from "./sources.js";

/** Answers of a comparison in C3, C2 and C0. */
const CONDITIONS: Record<Relation, number> = {
  greater: 0,
  less: FSW.C0,
  equal: FSW.C3,
  unordered: FSW.C3 | FSW.C2 | FSW.C0,
};

/** The same in ZF, PF and CF; OF, SF and AF are cleared. */
const RFLAGS: Record<Relation, bigint> = { greater: 0n, less: 1n, equal: 0x40n, unordered: 0x45n };

type Answer = (relation: Relation) => void;

const toStatus =
  (x: X87): Answer =>
  (relation) =>
    x.setConditions(CONDITIONS[relation]);

const toFlags =
  (v: UopValues): Answer =>
  (relation) => {
    const { flagResult, flagAux } = encodeFlags(RFLAGS[relation]);
    v.set("flagResult", flagResult);
    v.set("flagAux", flagAux);
  };

/**
 * End a comparison into the flags. It leaves C1 alone, as the processors do that the recorded vectors come from; Intel's
 * manual clears it.
 */
function keepC1(x: X87, work: () => void): void {
  const c1 = x.fsw & FSW.C1;
  work();
  x.fsw |= c1;
}

interface Comparison {
  /** A quiet NaN is an invalid operation too. */
  readonly signalling: boolean;
  readonly pops: number;
  readonly answer: Answer;
}

function run(x: X87, { signalling, pops, answer }: Comparison, first: FloatValue, other: FloatValue): void {
  const c = x.context();
  const relation = compare(c, first, other, signalling);
  // An exception that is not masked keeps the operands on the stack, but there is an answer all the same.
  answer(relation);
  x.finish(c, () => x.pop(pops));
}

/** An operand is missing: that is unordered too. */
function missing(x: X87, { pops, answer }: Comparison): void {
  answer("unordered");
  if (x.fault("underflow")) x.pop(pops);
}

/** FCOM, FICOM and their like on memory. */
export function compareMemory(x: X87, source: Source, pops: number): void {
  x.wait();
  const value = loadSource(x, source);
  const comparison = { signalling: true, pops, answer: toStatus(x) };
  if (x.isEmpty(0)) missing(x, comparison);
  else run(x, comparison, x.value(0), value);
}

/** FCOM, FUCOM and their like on registers. */
export function compareRegister(x: X87, i: number, signalling: boolean, pops: number): void {
  x.wait();
  const comparison = { signalling, pops, answer: toStatus(x) };
  if (x.isEmpty(0) || x.isEmpty(i)) missing(x, comparison);
  else run(x, comparison, x.value(0), x.value(i));
}

/** FCOMI, FUCOMI and their like. */
export function compareFlags(v: UopValues, x: X87, i: number, signalling: boolean, pops: number): void {
  x.wait();
  const comparison = { signalling, pops, answer: toFlags(v) };
  if (x.isEmpty(0) || x.isEmpty(i)) missing(x, comparison);
  else keepC1(x, () => run(x, comparison, x.value(0), x.value(i)));
}

/** FTST: with +0.0. */
export function ftst(x: X87): void {
  x.wait();
  const comparison = { signalling: true, pops: 0, answer: toStatus(x) };
  if (x.isEmpty(0)) missing(x, comparison);
  else run(x, comparison, x.value(0), integerValue(0n));
}
