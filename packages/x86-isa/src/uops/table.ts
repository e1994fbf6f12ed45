import { ALU } from "./alu.js";
import { BITS } from "./bits.js";
import { BRANCHES } from "./branches.js";
import { CONDITIONS } from "./conditions.js";
import { CONTROL } from "./control.js";
import type { UopDefinition } from "./definition.js";
import { INDEXED } from "./indexed.js";
import { MEMORY } from "./memory.js";
import { MOVES } from "./moves.js";
import type { UopName } from "./names.js";
import { MULTIPLY } from "./multiply.js";
import { SHIFTS } from "./shifts.js";
import { SSE_FLOAT } from "./sse/index.js";
import { STRINGS } from "./strings.js";
import { VECTORS } from "./vector/index.js";
import { X87_ROWS } from "./x87/rows.js";

/** Every micro-operation; its number is its index here. */
export const UOPS: readonly UopDefinition[] = [
  ...CONTROL,
  ...MOVES,
  ...MEMORY,
  ...INDEXED,
  ...ALU,
  ...CONDITIONS,
  ...BRANCHES,
  ...SHIFTS,
  ...MULTIPLY,
  ...BITS,
  ...STRINGS,
  ...SSE_FLOAT,
  ...VECTORS,
  ...X87_ROWS,
];

const numbers = new Map<string, number>();
for (const [number, { name }] of UOPS.entries()) {
  if (numbers.has(name)) throw new RangeError(`micro-operation "${name}" is defined twice`);
  numbers.set(name, number);
}

/** Number of the micro-operation of that name. */
export function uopNumber(name: UopName): number {
  const number = numbers.get(name);
  if (number === undefined) throw new RangeError(`micro-operation "${name}" does not exist`);
  return number;
}

/** A name that is put together while lifting; throws for one that is not there. */
export function uopNamed(name: string): UopName {
  if (!isUopName(name)) throw new RangeError(`micro-operation "${name}" does not exist`);
  return name;
}

const isUopName = (name: string): name is UopName => numbers.has(name);

/** The row with that number. */
export function uopDefinition(number: number): UopDefinition {
  const row = UOPS[number];
  if (row === undefined) throw new RangeError(`micro-operation number ${number} does not exist`);
  return row;
}
