import { ARITHMETIC } from "./arithmetic.js";
import { BITS } from "./bits.js";
import { CONTROL } from "./control.js";
import { DECIMAL } from "./decimal.js";
import type { Family, Lifter } from "./family.js";
import { FLAGS } from "./flags.js";
import { HINTS } from "./hints.js";
import { MOVES } from "./moves.js";
import { MULTIPLY } from "./multiply.js";
import { SHIFTS } from "./shifts.js";
import { STACK } from "./stack.js";
import { STRINGS } from "./strings.js";

const FAMILIES: readonly Family[] = [
  MOVES,
  ARITHMETIC,
  SHIFTS,
  MULTIPLY,
  BITS,
  FLAGS,
  STACK,
  CONTROL,
  STRINGS,
  DECIMAL,
  HINTS,
];

const lifters = new Map<number, Lifter>();
for (const family of FAMILIES) {
  for (const [mnemonic, lifter] of Object.entries(family)) {
    if (lifters.has(Number(mnemonic))) throw new Error(`mnemonic ${mnemonic} is in two families`);
    lifters.set(Number(mnemonic), lifter);
  }
}

/** The lifter of an instruction by its iced-x86 `Mnemonic`; undefined where none has been written. */
export function lifterOf(mnemonic: number): Lifter | undefined {
  return lifters.get(mnemonic);
}
