import { ARITHMETIC } from "./arithmetic.js";
import { BITS } from "./bits.js";
import { CONTROL } from "./control.js";
import { DECIMAL } from "./decimal.js";
import type { CodeFamily, Family, Lifter } from "./family.js";
import { FLAGS } from "./flags.js";
import { HINTS } from "./hints.js";
import { MOVES } from "./moves.js";
import { MULTIPLY } from "./multiply.js";
import { SHIFTS } from "./shifts.js";
import { SIMD_FLOAT_MMX } from "./simd/float-mmx.js";
import { SIMD_FLOAT, SIMD_FLOAT_CODES } from "./simd/float.js";
import { MMX } from "./simd/mmx.js";
import { SIMD_MOVE_CODES, SIMD_MOVES } from "./simd/moves.js";
import { SIMD_OPERATIONS } from "./simd/operations.js";
import { SIMD_SHUFFLES } from "./simd/shuffles.js";
import { SIMD_STRINGS } from "./simd/strings.js";
import { STACK } from "./stack.js";
import { STRING_CODES, STRINGS } from "./strings.js";
import { X87_CODES } from "./x87.js";

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
  SIMD_FLOAT,
  SIMD_FLOAT_MMX,
  SIMD_MOVES,
  SIMD_OPERATIONS,
  SIMD_SHUFFLES,
  SIMD_STRINGS,
  MMX,
];

const CODE_FAMILIES: readonly CodeFamily[] = [STRING_CODES, SIMD_FLOAT_CODES, SIMD_MOVE_CODES, ...X87_CODES];

function index(families: readonly (Family | CodeFamily)[]): ReadonlyMap<number, Lifter> {
  const lifters = new Map<number, Lifter>();
  for (const family of families) {
    for (const [key, lifter] of Object.entries(family)) {
      if (lifters.has(Number(key))) throw new Error(`instruction ${key} is in two families`);
      lifters.set(Number(key), lifter);
    }
  }
  return lifters;
}

const byMnemonic = index(FAMILIES);
const byCode = index(CODE_FAMILIES);

/** The lifter of an instruction by its iced-x86 `Code` or `Mnemonic`; undefined where none has been written. */
export function lifterOf(code: number, mnemonic: number): Lifter | undefined {
  return byCode.get(code) ?? byMnemonic.get(mnemonic);
}
