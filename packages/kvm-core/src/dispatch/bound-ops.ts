import type { OPS, OpName, OpSignature } from "../contract/index.js";

/** What the slots of the call table hold: absent is undefined, and only where the contract allows it. */
export type BoundOps = {
  -readonly [N in OpName]: (typeof OPS)[N]["kind"] extends "optional" ? OpSignature<N> | undefined : OpSignature<N>;
};
