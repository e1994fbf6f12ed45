import { PAGE_1GB_SHIFT, PAGE_2MB_SHIFT, PAGE_4MB_SHIFT, PAGE_OFFSET_MASK, PAGE_SHIFT } from "@tapvisor/x86-isa";
import { TWO_32 } from "../words.js";
import { ACCESS_FETCH, ACCESS_WRITE, type AccessKind } from "./second-stage.js";

/** Entries of each array, by the low bits of the page's number; a power of two. Pages 64 MiB apart share one. */
export const TLB_ENTRIES = 16_384;
/**
 * Bytes of an entry: the tag (i64: the linear address of the page, all 64 bits), the address in the WebAssembly memory of
 * the page (u32), and flags (u32).
 */
const TLB_ENTRY_BYTES = 16;
export const TLB_ARRAY_BYTES = TLB_ENTRIES * TLB_ENTRY_BYTES;
const ENTRY_WORDS = TLB_ENTRY_BYTES >> 2;
const ARRAY_WORDS = TLB_ENTRIES * ENTRY_WORDS;
/** Arrays: read, write and fetch, first for supervisor, then for user accesses. */
const KINDS = 3;
const ARRAYS = 2 * KINDS;
export const TLB_BANK_BYTES = ARRAYS * TLB_ARRAY_BYTES;

/** The bits of an address that name its page. */
const PAGE_MASK = ~PAGE_OFFSET_MASK;

/** Fills that are remembered, so that a flush soon after another touches no more than them. */
const LOG_ENTRIES = 2048;
/** Large pages that are remembered, of each size. */
const LARGE_PAGES = 4096;

/** A tag that no linear page has: its low bits are not zero. */
export const INVALID = 0xffff_ffff;
/** Flag of an entry: the page is global. */
const GLOBAL = 1;

const indexOf = (low: number): number => ((low >>> PAGE_SHIFT) & (TLB_ENTRIES - 1)) * ENTRY_WORDS;
const arrayOf = (kind: AccessKind, user: boolean): number => ((user ? KINDS : 0) + kind) * ARRAY_WORDS;

/** The linear pages of one size, larger than 4 KiB, that translations were made from. */
interface LargePages {
  readonly shift: typeof PAGE_2MB_SHIFT | typeof PAGE_4MB_SHIFT | typeof PAGE_1GB_SHIFT;
  readonly pages: Set<number>;
  /** The page that was added last, or -1: most fills after it are of the same. */
  newest: number;
}

/** The translations of one address space under one set of paging controls. */
export class TlbBank {
  readonly #words: Uint32Array;
  /** Word indices of the entries filled; more than fit, and a flush goes over everything. */
  readonly #filled = new Uint32Array(LOG_ENTRIES);
  #fillCount = LOG_ENTRIES + 1;
  readonly #large: readonly LargePages[] = [
    { shift: PAGE_2MB_SHIFT, pages: new Set(), newest: -1 },
    { shift: PAGE_4MB_SHIFT, pages: new Set(), newest: -1 },
    { shift: PAGE_1GB_SHIFT, pages: new Set(), newest: -1 },
  ];
  /** Changes whenever a translation for fetches is dropped, of supervisor and user accesses. */
  readonly generations: [supervisor: number, user: number];

  // --- what the translations belong to; see Tlb.select()
  vpid = -1;
  eptpLow = 0;
  eptpHigh = 0;
  pcid = 0;
  mode = 0;
  /** When it was selected last: the greatest is the newest. */
  used = 0;

  /**
   * @param base offset in `buffer`, a multiple of 16
   * @param newGeneration a number that has not been used yet
   */
  constructor(
    buffer: ArrayBuffer,
    readonly base: number,
    private readonly ramBase: number,
    private readonly newGeneration: () => number,
  ) {
    this.#words = new Uint32Array(buffer, base, TLB_BANK_BYTES >> 2);
    this.generations = [newGeneration(), newGeneration()];
  }

  /** Offset in the memory of the array for a kind of access. */
  arrayOffset(kind: AccessKind, user: boolean): number {
    return this.base + arrayOf(kind, user) * 4;
  }

  lookup(low: number, high: number, kind: AccessKind, user: boolean): number {
    const at = arrayOf(kind, user) + indexOf(low);
    const words = this.#words;
    if (words[at] !== (low & PAGE_MASK) >>> 0 || words[at + 1] !== high >>> 0) return -1;
    return (words[at + 2] as number) - this.ramBase;
  }

  fill(low: number, high: number, kind: AccessKind, user: boolean, page: number, global: boolean): void {
    const at = arrayOf(kind, user) + indexOf(low);
    const words = this.#words;
    if (words[at] !== INVALID) {
      // It is in the list of what has been filled already.
      if (kind === ACCESS_FETCH) this.#renew(user);
    } else {
      if (this.#fillCount === LOG_ENTRIES) this.#shortenList();
      if (this.#fillCount < LOG_ENTRIES) this.#filled[this.#fillCount] = at;
      this.#fillCount++;
    }
    words[at] = low & PAGE_MASK;
    words[at + 1] = high;
    words[at + 2] = page + this.ramBase;
    words[at + 3] = global ? GLOBAL : 0;
  }

  /** Entries that were dropped and filled again are in the list twice: make it anew. */
  #shortenList(): void {
    const words = this.#words;
    let count = 0;
    for (let at = 0; at < words.length && count < LOG_ENTRIES; at += ENTRY_WORDS) {
      if (words[at] !== INVALID) this.#filled[count++] = at;
    }
    this.#fillCount = count;
  }

  /** The address lies in a page of so many bytes: one invalidation ends all of it. */
  noteLargePage(low: number, high: number, bytes: number): void {
    const large = this.#large.find(({ shift }) => bytes === 2 ** shift);
    if (large === undefined) return;
    const page = pageNumber(low, high, large.shift);
    if (page === large.newest) return;
    if (large.pages.size >= LARGE_PAGES) this.flush();
    large.pages.add(page);
    large.newest = page;
  }

  /** Drop everything. */
  flush(): void {
    if (this.#fillCount === 0) return;
    if (this.#fillCount <= LOG_ENTRIES) this.#each((at) => this.#drop(at));
    else {
      this.#words.fill(INVALID);
      this.#renew(false);
      this.#renew(true);
    }
    this.#fillCount = 0;
    for (const large of this.#large) {
      if (large.pages.size === 0) continue;
      large.pages.clear();
      large.newest = -1;
    }
  }

  /** Drop what is not global. */
  flushNonGlobal(): void {
    if (this.#fillCount === 0) return;
    let kept = 0;
    this.#each((at) => {
      const words = this.#words;
      if (words[at] === INVALID) return;
      if (((words[at + 3] as number) & GLOBAL) === 0) this.#drop(at);
      // No entry is visited before it has been counted, so that the list can be shortened in place.
      else if (kept < LOG_ENTRIES) this.#filled[kept++] = at;
      else kept++;
    });
    this.#fillCount = kept;
  }

  /** Drop the translations of the page that holds the address, whatever its size and privilege. */
  flushPage(low: number, high: number): void {
    if (this.#fillCount === 0) return;
    const words = this.#words;
    const index = indexOf(low);
    for (let array = 0; array < ARRAYS; array++) {
      const at = array * ARRAY_WORDS + index;
      if (words[at] === (low & PAGE_MASK) >>> 0 && words[at + 1] === high >>> 0) this.#drop(at);
    }
    for (const large of this.#large) {
      const { shift, pages } = large;
      if (pages.size === 0 || !pages.delete(pageNumber(low, high, shift))) continue;
      large.newest = -1;
      this.#flushRange(low, high, shift);
    }
  }

  /** Drop the translations for writes to a host physical page. */
  flushWritesTo(page: number): void {
    if (this.#fillCount === 0) return;
    const words = this.#words;
    const target = page + this.ramBase;
    const drop = (at: number): void => {
      if (words[at + 2] === target) words[at] = INVALID;
    };
    const [supervisor, user] = [arrayOf(ACCESS_WRITE, false), arrayOf(ACCESS_WRITE, true)];
    const count = this.#fillCount;
    if (count <= LOG_ENTRIES) {
      for (let i = 0; i < count; i++) {
        const at = this.#filled[i] as number;
        if ((at >= supervisor && at < supervisor + ARRAY_WORDS) || (at >= user && at < user + ARRAY_WORDS)) drop(at);
      }
    } else {
      for (let at = 0; at < ARRAY_WORDS; at += ENTRY_WORDS) {
        drop(supervisor + at);
        drop(user + at);
      }
    }
  }

  #flushRange(low: number, high: number, shift: number): void {
    const mask = ~(2 ** shift - 1);
    const words = this.#words;
    this.#each((at) => {
      const tag = words[at] as number;
      if (tag !== INVALID && ((tag ^ low) & mask) === 0 && words[at + 1] === high >>> 0) this.#drop(at);
    });
  }

  /** Every entry that may hold a translation, possibly more than once. */
  #each(visit: (at: number) => void): void {
    const count = this.#fillCount;
    if (count <= LOG_ENTRIES) {
      for (let i = 0; i < count; i++) visit(this.#filled[i] as number);
    } else {
      for (let at = 0; at < this.#words.length; at += ENTRY_WORDS) visit(at);
    }
  }

  #drop(at: number): void {
    const words = this.#words;
    if (words[at] === INVALID) return;
    words[at] = INVALID;
    const array = Math.floor(at / ARRAY_WORDS);
    if (array % KINDS === ACCESS_FETCH) this.#renew(array >= KINDS);
  }

  #renew(user: boolean): void {
    this.generations[user ? 1 : 0] = this.newGeneration();
  }
}

const pageNumber = (low: number, high: number, shift: number): number =>
  Math.floor(((high & 0xffff) * TWO_32 + (low >>> 0)) / 2 ** shift);
