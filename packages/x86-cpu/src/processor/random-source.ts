const MASK = 0xffff_ffff_ffff_ffffn;

/** What RDRAND and RDSEED return: a fixed sequence (SplitMix64), so that a run can be repeated. */
export class RandomSource {
  /** All there is of its state. */
  #counter = 0n;

  next(): bigint {
    this.#counter = (this.#counter + 0x9e37_79b9_7f4a_7c15n) & MASK;
    let z = this.#counter;
    z = ((z ^ (z >> 30n)) * 0xbf58_476d_1ce4_e5b9n) & MASK;
    z = ((z ^ (z >> 27n)) * 0x94d0_49bb_1331_11ebn) & MASK;
    return z ^ (z >> 31n);
  }
}
