import type { PhysicalMemory } from "../contract/index.js";
import type { SpteFormat } from "./masks.js";

const LEVEL_BITS = 9;
const TABLE_ENTRIES = 1 << LEVEL_BITS;
const ENTRY_BYTES = 8;
const TWO_TO_32 = 2 ** 32;
/** An entry above the page table that maps a page itself: PT_PAGE_SIZE_MASK, the same bit in every format. */
const LARGE = 1 << 7;

/** PT_PAGE_TABLE_LEVEL, whose entries map 4 KiB; 2 MiB and 1 GiB follow. */
export const PAGE_TABLE_LEVEL = 1;

/** Frames that an entry of a level covers: KVM_PAGES_PER_HPAGE. */
export const framesAt = (level: number): number => TABLE_ENTRIES ** (level - 1);

/** Where the walk for a frame ended. */
export interface SpteCursor {
  /** Host physical address of the entry. */
  at: number;
  /** 1 for the page table: what the entry covers. */
  level: number;
}

/** The tables of second-stage translation, and the way down to an entry; what the entries say is the MMU's. */
export class SpteTable {
  readonly #pages = new Set<number>();
  #root = -1;
  /** Page table of the walk before, and the 2-MiB region that it covers. */
  #lastTable = -1;
  #lastRegion = -1;
  readonly #found: SpteCursor = { at: -1, level: 0 };

  constructor(
    readonly memory: PhysicalMemory,
    readonly format: SpteFormat,
    readonly levels: () => number,
  ) {}

  /** Root table, made when it is first asked for. */
  root(): number {
    if (this.#root === -1) this.#root = this.#allocate();
    return this.#root;
  }

  #allocate(): number {
    const page = this.memory.allocatePage();
    this.#pages.add(page);
    return page;
  }

  isPresent(at: number): boolean {
    return (this.memory.readU32(at) & this.format.presentMask) !== 0 && !this.isMmio(at);
  }

  isMmio(at: number): boolean {
    return this.format.isMmio(this.memory.readU32(at), this.memory.readU32(at + 4));
  }

  isWritable(at: number): boolean {
    return this.format.isWritable(this.memory.readU32(at));
  }

  removeWrite(at: number): void {
    this.memory.writeU32(at, this.format.withoutWrite(this.memory.readU32(at)));
  }

  clear(at: number): void {
    this.memory.writeU32(at, 0);
    this.memory.writeU32(at + 4, 0);
  }

  /** Have an entry map a page of the host. `flags` has the memory type and the permissions, as the format has them. */
  setLeaf(at: number, level: number, page: number, flags: number): void {
    const large = level > PAGE_TABLE_LEVEL ? LARGE : 0;
    this.memory.writeU32(at + 4, (this.format.leafHigh | Math.floor(page / TWO_TO_32)) >>> 0);
    this.memory.writeU32(at, ((page % TWO_TO_32) | large | flags) >>> 0);
  }

  setMmio(at: number, page: number): void {
    const { memory, format } = this;
    memory.writeU32(at + 4, (format.mmioHigh | (Math.floor(page / TWO_TO_32) & 0xfffff)) >>> 0);
    memory.writeU32(at, ((page % TWO_TO_32) | format.mmioLow) >>> 0);
  }

  /**
   * The entry that maps a frame, or would: the lowest that there is a table for. Valid until the next call; undefined
   * without a root.
   */
  find(gfn: number): Readonly<SpteCursor> | undefined {
    const found = this.#found;
    if (Math.floor(gfn / TABLE_ENTRIES) === this.#lastRegion) {
      found.at = this.#lastTable + (gfn % TABLE_ENTRIES) * ENTRY_BYTES;
      found.level = PAGE_TABLE_LEVEL;
      return found;
    }
    if (this.#root === -1) return undefined;
    let table = this.#root;
    for (found.level = this.levels(); ; found.level--) {
      found.at = this.#entry(table, gfn, found.level);
      if (found.level === PAGE_TABLE_LEVEL) break;
      const next = this.#linked(found.at);
      if (next === -1) return found;
      table = next;
    }
    this.#lastRegion = Math.floor(gfn / TABLE_ENTRIES);
    this.#lastTable = table;
    return found;
  }

  /**
   * The entry of a level for a frame, with tables made on the way. What maps more, or less, than the level is dropped:
   * `onDrop` is told, since translations of it may be cached.
   */
  make(gfn: number, level: number, onDrop: () => void): number {
    let table = this.root();
    for (let above = this.levels(); above > level; above--) {
      const at = this.#entry(table, gfn, above);
      let next = this.#linked(at);
      if (next === -1) {
        if (this.isPresent(at)) onDrop();
        next = this.#allocate();
        this.memory.writeU32(at + 4, (this.format.linkHigh | Math.floor(next / TWO_TO_32)) >>> 0);
        this.memory.writeU32(at, ((next % TWO_TO_32) | this.format.linkLow) >>> 0);
      }
      table = next;
    }
    const at = this.#entry(table, gfn, level);
    if (level > PAGE_TABLE_LEVEL && this.unlink(at, level)) onDrop();
    return at;
  }

  /** Take the table that an entry links to out, and give it back. False where the entry links to none. */
  unlink(at: number, level: number): boolean {
    const table = this.#linked(at);
    if (level === PAGE_TABLE_LEVEL || table === -1) return false;
    this.clear(at);
    this.#free(table, level - 1);
    this.#lastRegion = -1;
    return true;
  }

  #free(table: number, level: number): void {
    if (level > PAGE_TABLE_LEVEL) {
      for (let i = 0; i < TABLE_ENTRIES; i++) {
        const next = this.#linked(table + i * ENTRY_BYTES);
        if (next !== -1) this.#free(next, level - 1);
      }
    }
    this.#pages.delete(table);
    this.memory.freePages(table, 1);
  }

  #entry(table: number, gfn: number, level: number): number {
    return table + (Math.floor(gfn / framesAt(level)) % TABLE_ENTRIES) * ENTRY_BYTES;
  }

  /** The table that an entry above the page table links to, or -1. */
  #linked(at: number): number {
    const low = this.memory.readU32(at);
    if ((low & this.format.presentMask) === 0 || (low & LARGE) !== 0) return -1;
    return ((low & ~0xfff) >>> 0) + (this.memory.readU32(at + 4) & 0xfffff) * TWO_TO_32;
  }

  /** Give all tables back. */
  destroy(): void {
    for (const page of this.#pages) this.memory.freePages(page, 1);
    this.#pages.clear();
    this.#root = -1;
    this.#lastRegion = -1;
  }
}
