/** struct kvm_pmu, as far as it is shared between the generic layer and a backend. */
export interface PmuState {
  version: number;
  gpCounters: number;
  fixedCounters: number;
}

/** struct kvm_pmc: one counter. */
export interface Pmc {
  readonly type: "gp" | "fixed";
  readonly idx: number;
  counter: bigint;
  eventsel: bigint;
}
