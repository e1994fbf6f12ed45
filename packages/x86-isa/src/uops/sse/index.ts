import type { UopDefinition } from "../definition.js";
import { SSE_APPROXIMATE } from "./approximate.js";
import { SSE_ARITHMETIC } from "./arithmetic.js";
import { SSE_COMPARE } from "./compare.js";
import { SSE_CONTROL } from "./control.js";
import { SSE_CONVERT } from "./convert.js";
import { SSE_ROUND } from "./round.js";

/** Floating point of SSE to SSE4.1. */
export const SSE_FLOAT: readonly UopDefinition[] = [
  ...SSE_ARITHMETIC,
  ...SSE_COMPARE,
  ...SSE_CONVERT,
  ...SSE_ROUND,
  ...SSE_APPROXIMATE,
  ...SSE_CONTROL,
];
