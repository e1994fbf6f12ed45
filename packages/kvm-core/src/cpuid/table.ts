import type { CpuidEntry } from "../contract/index.js";

/** The entries that user space set, found by leaf; a leaf whose subleaves matter has several. */
export class CpuidTable {
  readonly #byLeaf = new Map<number, CpuidEntry[]>();

  constructor(readonly entries: readonly CpuidEntry[]) {
    for (const entry of entries) {
      const list = this.#byLeaf.get(entry.function);
      if (list) list.push(entry);
      else this.#byLeaf.set(entry.function, [entry]);
    }
  }

  /** kvm_find_cpuid_entry. */
  find(leaf: number, subleaf: number): CpuidEntry | undefined {
    const list = this.#byLeaf.get(leaf);
    if (list === undefined) return undefined;
    for (const entry of list) if (!entry.significantIndex || entry.index === subleaf) return entry;
    return undefined;
  }
}
