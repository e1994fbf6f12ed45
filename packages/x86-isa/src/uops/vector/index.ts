import type { UopDefinition } from "../definition.js";
import { VECTOR_ARITHMETIC } from "./arithmetic.js";
import { VECTOR_CRYPTO } from "./crypto.js";
import { MMX_ROWS } from "./mmx.js";
import { VECTOR_MULTIPLY } from "./multiply.js";
import { VECTOR_SCALARS } from "./scalars.js";
import { VECTOR_SHIFTS } from "./shifts.js";
import { VECTOR_SHUFFLES } from "./shuffles.js";
import { VECTOR_STRINGS } from "./strings.js";

/** Integer and logical operations on vectors, and MMX registers. */
export const VECTORS: readonly UopDefinition[] = [
  ...VECTOR_SHUFFLES,
  ...VECTOR_ARITHMETIC,
  ...VECTOR_SHIFTS,
  ...VECTOR_MULTIPLY,
  ...VECTOR_SCALARS,
  ...VECTOR_STRINGS,
  ...VECTOR_CRYPTO,
  ...MMX_ROWS,
];
