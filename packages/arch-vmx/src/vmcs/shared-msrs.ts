/** The guest's value of an MSR that is switched late: the core gives the host its own back. */
export interface SharedMsr {
  readonly msr: number;
  /** Number of the core's slot. */
  readonly slot: number;
  data: bigint;
  /** Bits in which the guest's value counts. */
  mask: bigint;
}
