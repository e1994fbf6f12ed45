import { calls } from "./calls.mjs";
import { matrix } from "./matrix.mjs";
import { pages } from "./pages.mjs";
import { sha256 } from "./sha256.mjs";
import { sieve } from "./sieve.mjs";
import { sort } from "./sort.mjs";
import { strings } from "./strings.mjs";

/**
 * Guest code as a compiler emits it, for 32 and for 64 bits from one text. Each has a `name`, `write(a, r, bits)`, a
 * function that returns in EAX and keeps nothing but the stack pointer, what it returns, `expected`, and how
 * many calls are a turn, `repeat`; with `sse`, SSE is enabled for it.
 */
export const KERNELS = [sieve, sha256, sort, matrix, calls, strings, pages];
