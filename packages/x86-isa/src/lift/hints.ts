import { Mnemonic } from "../decode/iced.js";
import type { Family, Lifter } from "./family.js";

/** Nothing that software could see: no operation, hints, and orderings that a single thread keeps anyhow. */
const nothing: Lifter = () => undefined;

/** Cache-line instructions: no more than the check of a one-byte read (SDM vol. 2, "CLFLUSH"). */
const cacheLine: Lifter = (b, i) => {
  if (i.memory !== undefined) b.load(b.linear(i.memory.segment, b.effectiveAddress(i.memory), 1, false), 1);
};

export const HINTS: Family = {
  [Mnemonic.Nop]: nothing,
  [Mnemonic.Reservednop]: nothing,
  [Mnemonic.Endbr32]: nothing,
  [Mnemonic.Endbr64]: nothing,
  // Without shadow stacks (CR4.CET clear) they are NOPs.
  [Mnemonic.Rdsspd]: nothing,
  [Mnemonic.Rdsspq]: nothing,
  [Mnemonic.Prefetch]: nothing,
  [Mnemonic.Prefetchw]: nothing,
  [Mnemonic.Prefetchwt1]: nothing,
  [Mnemonic.Prefetchnta]: nothing,
  [Mnemonic.Prefetcht0]: nothing,
  [Mnemonic.Prefetcht1]: nothing,
  [Mnemonic.Prefetcht2]: nothing,
  [Mnemonic.Prefetchit0]: nothing,
  [Mnemonic.Prefetchit1]: nothing,
  [Mnemonic.Cldemote]: nothing,
  [Mnemonic.Lfence]: nothing,
  [Mnemonic.Mfence]: nothing,
  [Mnemonic.Sfence]: nothing,
  [Mnemonic.Serialize]: nothing,
  [Mnemonic.Clflush]: cacheLine,
  [Mnemonic.Clflushopt]: cacheLine,
  [Mnemonic.Clwb]: cacheLine,
};
