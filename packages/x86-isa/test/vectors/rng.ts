/** A seeded generator (xorshift32 behind a multiplicative hash of the seed): the same sequence everywhere. */
export class Rng {
  #state: number;

  constructor(seed: number) {
    this.#state = (Math.imul(seed ^ 0x9e3779b9, 0x85ebca6b) ^ (seed >>> 13) ^ 0x5bd1e995) | 1;
    for (let i = 0; i < 4; i++) this.u32();
  }

  /** 32 random bits. */
  u32(): number {
    let x = this.#state;
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    this.#state = x;
    return Math.imul(x, 0x2545f491) >>> 0;
  }

  u64(): bigint {
    return (BigInt(this.u32()) << 32n) | BigInt(this.u32());
  }

  /** An integer from 0 to `bound` - 1. */
  below(bound: number): number {
    return Math.floor((this.u32() / 0x1_0000_0000) * bound);
  }

  /** True in `numerator` of `denominator` cases. */
  chance(numerator: number, denominator: number): boolean {
    return this.below(denominator) < numerator;
  }

  pick<T>(list: readonly T[]): T {
    const item = list[this.below(list.length)];
    if (item === undefined) throw new RangeError("pick from an empty list");
    return item;
  }
}

const CORNERS: readonly bigint[] = [
  0n, 1n, 2n, 0x7fn, 0x80n, 0x81n, 0xffn, 0x100n, 0x7fffn, 0x8000n, 0x8001n, 0xffffn, 0x1_0000n,
  0x7fff_ffffn, 0x8000_0000n, 0x8000_0001n, 0xffff_ffffn, 0x1_0000_0000n,
  0x7fff_ffff_ffff_ffffn, 0x8000_0000_0000_0000n, 0x8000_0000_0000_0001n, 0xffff_ffff_ffff_ffffn,
  0xffff_ffff_ffff_fffen, 0x5555_5555_5555_5555n, 0xaaaa_aaaa_aaaa_aaaan, 0x0f0f_0f0f_0f0f_0f0fn,
  0xffff_ffff_8000_0000n, 0xffff_ffff_ffff_8000n, 0xffff_ffff_ffff_ff80n, 0x0123_4567_89ab_cdefn,
]; // prettier-ignore

/** A 64-bit value: a corner, a small count, or random bits of random width. */
export function interestingValue(rng: Rng): bigint {
  switch (rng.below(8)) {
    case 0:
    case 1:
    case 2:
      return rng.pick(CORNERS);
    case 3:
      return BigInt(rng.below(72));
    case 4:
      return BigInt.asUintN(64, rng.pick(CORNERS) + rng.pick([-1n, 1n, 3n]));
    case 5:
      return rng.u64() >> BigInt(rng.below(64));
    default:
      return rng.u64();
  }
}
