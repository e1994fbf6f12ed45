import { ACCESS_FETCH, ACCESS_WRITE, type AccessKind } from "./second-stage.js";

/** Entries of each array, by the low bits of the page's number; a power of two. Pages 16 MiB apart share one. */
export const TLB_ENTRIES = 4096;
/** Bytes of an entry: the tag (i64) and the address in the WebAssembly memory of the page (u32), then padding. */
export const TLB_ENTRY_BYTES = 16;
const ARRAY_WORDS = (TLB_ENTRIES * TLB_ENTRY_BYTES) >> 2;
/** Arrays: read, write and fetch, first for supervisor, then for user accesses. */
const ARRAYS = 6;
export const TLB_BYTES = ARRAYS * TLB_ENTRIES * TLB_ENTRY_BYTES;

/** Fills that are remembered, so that a flush soon after another touches no more than them. */
const LOG_ENTRIES = 2048;

/** A tag that no linear page has: its low bits are not zero. */
const INVALID = 0xffff_ffff;

/**
 * The software TLB: arrays in the processor's part of the WebAssembly memory, so that the interpreter looks an address
 * up without a call. Tag: the linear address of the page, all 64 bits. An entry holds the whole translation, of the
 * guest's paging and the second stage, for one kind of access and one privilege.
 *
 * What is in it can be seen by a guest (a stale entry still translates), so both engines use this one.
 */
export class Tlb {
  readonly #words: Uint32Array;
  /**
   * Changes whenever a translation for fetches is dropped. What an engine remembers of code by its linear address holds
   * for as long as this stays.
   */
  generation = 0;
  /** Word indices of the entries filled since the newest flush; more than fit, and the flush goes over everything. */
  readonly #filled = new Uint32Array(LOG_ENTRIES);
  #fillCount = LOG_ENTRIES + 1;

  /** @param base offset in `buffer`, a multiple of 16 */
  constructor(
    buffer: ArrayBuffer,
    readonly base: number,
    private readonly ramBase: number,
  ) {
    this.#words = new Uint32Array(buffer, base, TLB_BYTES >> 2);
    this.flush();
  }

  /** Offset in the memory of the array for a kind of access. */
  arrayOffset(kind: AccessKind, user: boolean): number {
    return this.base + this.#array(kind, user) * 4;
  }

  /** Host physical address of the page that holds the linear address, or -1. */
  lookup(low: number, high: number, kind: AccessKind, user: boolean): number {
    const at = this.#array(kind, user) + ((low >>> 12) & (TLB_ENTRIES - 1)) * 4;
    const words = this.#words;
    if (words[at] !== (low & ~0xfff) >>> 0 || words[at + 1] !== high >>> 0) return -1;
    return (words[at + 2] as number) - this.ramBase;
  }

  /** @param page host physical address of the page; must be RAM */
  fill(low: number, high: number, kind: AccessKind, user: boolean, page: number): void {
    const at = this.#array(kind, user) + ((low >>> 12) & (TLB_ENTRIES - 1)) * 4;
    const words = this.#words;
    if (kind === ACCESS_FETCH && words[at] !== INVALID) this.generation++;
    if (this.#fillCount < LOG_ENTRIES) this.#filled[this.#fillCount] = at;
    this.#fillCount++;
    words[at] = low & ~0xfff;
    words[at + 1] = high;
    words[at + 2] = page + this.ramBase;
  }

  /** Drop everything. */
  flush(): void {
    if (this.#fillCount === 0) return;
    this.generation++;
    const words = this.#words;
    if (this.#fillCount <= LOG_ENTRIES) {
      for (let i = 0; i < this.#fillCount; i++) words[this.#filled[i] as number] = INVALID;
    } else {
      for (let at = 0; at < words.length; at += 4) words[at] = INVALID;
    }
    this.#fillCount = 0;
  }

  /** Drop the translations for writes to a host physical page: it has become code. */
  flushWritesTo(page: number): void {
    const words = this.#words;
    const target = page + this.ramBase;
    for (const user of [false, true]) {
      const first = this.#array(ACCESS_WRITE, user);
      for (let at = first; at < first + ARRAY_WORDS; at += 4) if (words[at + 2] === target) words[at] = INVALID;
    }
  }

  #array(kind: AccessKind, user: boolean): number {
    return ((user ? 3 : 0) + kind) * ARRAY_WORDS;
  }
}
