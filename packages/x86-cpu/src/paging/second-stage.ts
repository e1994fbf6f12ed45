/** What a guest-physical access is for. A fetch is neither a read nor a write to EPT. */
export const ACCESS_READ = 0;
export const ACCESS_WRITE = 1;
export const ACCESS_FETCH = 2;
export type AccessKind = typeof ACCESS_READ | typeof ACCESS_WRITE | typeof ACCESS_FETCH;

/**
 * The translation from guest-physical to host-physical addresses, which EPT does.
 *
 * The linear address comes along because an EPT violation reports it: low and high 32 bits, meaningless when
 * `ofStructure` and `linearValid` are both false.
 */
export interface SecondStage {
  /**
   * Translate for one access, with its permission checks and its accessed and dirty flags.
   *
   * @param guestPhysical at most 52 bits
   * @param ofStructure the access is to a guest paging structure, not to the translated address itself
   * @returns the host physical address of the same byte
   * @throws `VM_EXIT` on a violation or misconfiguration
   */
  translate(
    guestPhysical: number,
    kind: AccessKind,
    ofStructure: boolean,
    linearLow: number,
    linearHigh: number,
  ): number;
}

/** Guest-physical addresses are host-physical: no EPT. */
export const IDENTITY: SecondStage = { translate: (guestPhysical) => guestPhysical };
