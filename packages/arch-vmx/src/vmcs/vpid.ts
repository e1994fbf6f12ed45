/** VPIDs are 16 bits wide; 0 is the host's. */
const VPID_COUNT = 1 << 16;

/** Hands out the lowest free VPID, so that equal histories give equal VPIDs. */
export class VpidAllocator {
  readonly #used = new Set<number>([0]);

  /** A free VPID, or 0 (run without one) when none is left. */
  allocate(): number {
    for (let vpid = 1; vpid < VPID_COUNT; vpid++) {
      if (this.#used.has(vpid)) continue;
      this.#used.add(vpid);
      return vpid;
    }
    return 0;
  }

  free(vpid: number): void {
    if (vpid !== 0) this.#used.delete(vpid);
  }
}
