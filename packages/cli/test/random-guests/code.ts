import { decode, type Bitness } from "@tapvisor/x86-isa";

/** A seeded generator (xorshift32): the same code for the same seed, everywhere. */
export class Random {
  #state: number;

  constructor(seed: number) {
    this.#state = seed | 0 || 1;
  }

  /** Unsigned 32 bits. */
  next(): number {
    let x = this.#state;
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    this.#state = x;
    return x >>> 0;
  }

  below(limit: number): number {
    return this.next() % limit;
  }
}

/** `size` bytes without any order. */
export function randomBytes(random: Random, size: number): Uint8Array {
  return Uint8Array.from({ length: size }, () => random.next() >>> 24);
}

/** Up to `size` bytes that decode as one valid instruction after another. */
export function randomInstructions(random: Random, size: number, bitness: Bitness): Uint8Array {
  const code = new Uint8Array(size).fill(0x90);
  for (let at = 0; at < size - 15;) {
    const bytes = randomBytes(random, 15);
    const result = decode(bytes, BigInt(at), bitness);
    if (result.kind !== "instruction") continue;
    code.set(bytes.subarray(0, result.instruction.length), at);
    at += result.instruction.length;
  }
  return code;
}
