import type { Vcpu } from "./vm.js";

/** struct kvm_pmc: one counter. */
export interface Pmc {
  readonly type: "gp" | "fixed";
  readonly idx: number;
  readonly vcpu: Vcpu;
  counter: bigint;
  /** IA32_PERFEVTSELx as the guest wrote it; read once the virtual PMU counts. */
  eventsel: bigint;
}

/** Events that a counter can be mapped to: PERF_COUNT_HW_*. MAX means that there is none. */
export const PERF_COUNT_HW = {
  CPU_CYCLES: 0, INSTRUCTIONS: 1, CACHE_REFERENCES: 2, CACHE_MISSES: 3, BRANCH_INSTRUCTIONS: 4, BRANCH_MISSES: 5,
  BUS_CYCLES: 6, STALLED_CYCLES_FRONTEND: 7, STALLED_CYCLES_BACKEND: 8, REF_CPU_CYCLES: 9, MAX: 10,
} as const; // prettier-ignore
