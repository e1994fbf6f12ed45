import type { Uop } from "../uops/definition.js";
import { uopDefinition, uopNamed, uopNumber } from "../uops/table.js";

/** A run of micro-operations with the index of each instruction's first. */
export interface Listing {
  readonly uops: readonly Uop[];
  readonly firsts: readonly number[];
}

/**
 * Leave out the computation of flags that nothing can see: overwritten before they are read, before a fault could show
 * them, and before the block ends. A row with a twin without flags becomes that twin; a row that writes flags alone goes.
 */
export function dropDeadFlags({ uops, firsts }: Listing): Listing {
  const kept: Uop[] = [];
  const removed = new Set<number>();
  let live = true;
  for (let n = uops.length - 1; n >= 0; n--) {
    let uop = uops[n];
    if (uop === undefined) continue;
    let row = uopDefinition(uop.op);
    if (row.operands.includes("n") && row.name.startsWith("skip")) return { uops, firsts };
    if (row.writesFlags === true && !live) {
      if (row.flagless !== undefined) {
        uop = { ...uop, op: uopNumber(uopNamed(row.flagless)) };
        row = uopDefinition(uop.op);
      } else if (!row.operands.includes("d") && row.memory !== true && row.faults !== true && row.ends !== true) {
        removed.add(n);
        continue;
      }
    }
    if (row.writesFlags === true && row.readsFlags !== true) live = false;
    if (row.readsFlags === true || row.memory === true || row.faults === true || row.ends === true) live = true;
    kept.push(uop);
  }
  kept.reverse();
  if (removed.size === 0) return { uops: kept, firsts };
  let gone = 0;
  const moved: number[] = [];
  for (let n = 0; n <= uops.length; n++) {
    moved.push(n - gone);
    if (removed.has(n)) gone++;
  }
  return { uops: kept, firsts: firsts.map((first) => moved[first] ?? 0) };
}
