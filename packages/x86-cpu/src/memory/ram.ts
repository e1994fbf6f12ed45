import { PAGE_2MB_SHIFT, PAGE_SHIFT, PAGE_SIZE } from "@tapvisor/x86-isa";

/** Pages of 2 MiB: what is as large is aligned to it, so that page tables can map it whole. */
const LARGE_PAGES = 1 << (PAGE_2MB_SHIFT - PAGE_SHIFT);

/** The host has no page left: ENOMEM, in the shape of a Node system error. */
export class OutOfMemory extends Error {
  readonly code = "ENOMEM";
  readonly errno = -12;

  constructor(pages: number, free: number) {
    super(`ENOMEM: ${pages} contiguous page(s) asked for, ${free} of the host's RAM are free`);
    this.name = "OutOfMemory";
  }
}

/** Told that bytes which hold translated code were written: physical address and length of the write. */
export type CodeWriteListener = (address: number, length: number) => void;

/**
 * The host's RAM: a range of a WebAssembly memory, so that the interpreter reaches it without a call.
 *
 * Addresses are host physical. Every access is checked against the size; one outside throws `RangeError`. Page 0 is
 * never handed out, so that address 0 can mean "none".
 */
export class Ram {
  readonly #view: DataView;
  readonly #bytes: Uint8Array;
  readonly #words: Uint32Array;
  /** One byte a page: allocated. */
  readonly #used: Uint8Array;
  /** One byte a page: freed before, so its bytes may not be zero. */
  readonly #stale: Uint8Array;
  #free: number;
  #hint = 1;
  /** One byte a page: how many engines hold code translated from it. */
  readonly codePages: Uint8Array;
  readonly #listeners: CodeWriteListener[] = [];
  readonly #newCodeListeners: ((page: number) => void)[] = [];

  /**
   * @param buffer the memory that holds the RAM; never grown, so that views stay valid
   * @param base offset of physical address 0 in `buffer`, a multiple of the page size
   * @param size bytes of RAM, a multiple of the page size
   */
  constructor(
    readonly buffer: ArrayBuffer,
    readonly base: number,
    readonly size: number,
  ) {
    if (size % PAGE_SIZE !== 0 || base % PAGE_SIZE !== 0) {
      throw new RangeError(`RAM of ${size} bytes at ${base}: both must be multiples of ${PAGE_SIZE}`);
    }
    this.#view = new DataView(buffer, base, size);
    this.#bytes = new Uint8Array(buffer, base, size);
    this.#words = new Uint32Array(buffer, base, size >>> 2);
    const pages = size >>> PAGE_SHIFT;
    this.#used = new Uint8Array(pages);
    this.#stale = new Uint8Array(pages);
    this.codePages = new Uint8Array(pages);
    this.#used[0] = 1;
    this.#free = pages - 1;
  }

  /** Is the whole range RAM? */
  contains(address: number, length: number): boolean {
    return address >= 0 && address + length <= this.size;
  }

  allocatePage(): number {
    return this.allocatePages(1);
  }

  allocatePages(count: number): number {
    const alignment = count < LARGE_PAGES ? 1 : LARGE_PAGES;
    const first =
      this.#findFree(count, this.#hint, alignment) ??
      this.#findFree(count, 1, alignment) ??
      this.#findFree(count, 1, 1);
    if (first === undefined) throw new OutOfMemory(count, this.#free);
    for (let page = first; page < first + count; page++) {
      this.#used[page] = 1;
      if (this.#stale[page] === 1) {
        this.#bytes.fill(0, page * PAGE_SIZE, (page + 1) * PAGE_SIZE);
        this.#stale[page] = 0;
      }
    }
    this.#free -= count;
    this.#hint = first + count;
    return first * PAGE_SIZE;
  }

  freePages(base: number, count: number): void {
    const first = base / PAGE_SIZE;
    if (!Number.isInteger(first) || first < 1 || first + count > this.#used.length) {
      throw new RangeError(`freePages: ${count} page(s) at 0x${base.toString(16)} are not pages of the host's RAM`);
    }
    for (let page = first; page < first + count; page++) {
      if (this.#used[page] === 0) throw new RangeError(`freePages: page 0x${(page * PAGE_SIZE).toString(16)} is free`);
    }
    this.written(base, count * PAGE_SIZE);
    this.#used.fill(0, first, first + count);
    this.#stale.fill(1, first, first + count);
    this.#free += count;
    if (first < this.#hint) this.#hint = first;
  }

  readU8(address: number): number {
    return this.#view.getUint8(address);
  }

  readU16(address: number): number {
    return this.#view.getUint16(address, true);
  }

  readU32(address: number): number {
    return this.#view.getUint32(address, true);
  }

  readU64(address: number): bigint {
    return this.#view.getBigUint64(address, true);
  }

  /** The aligned 32-bit word at `address`: the quick way for page-table walks. */
  readWord(address: number): number {
    const word = this.#words[address >>> 2];
    if (word === undefined) throw new RangeError(`physical address 0x${address.toString(16)} is outside the RAM`);
    return word;
  }

  writeU8(address: number, value: number): void {
    this.#view.setUint8(address, value);
    this.written(address, 1);
  }

  writeU16(address: number, value: number): void {
    this.#view.setUint16(address, value, true);
    this.written(address, 2);
  }

  writeU32(address: number, value: number): void {
    this.#view.setUint32(address, value, true);
    this.written(address, 4);
  }

  writeU64(address: number, value: bigint): void {
    this.#view.setBigUint64(address, value, true);
    this.written(address, 8);
  }

  view(address: number, length: number): Uint8Array {
    if (!this.contains(address, length)) {
      throw new RangeError(`${length} bytes at 0x${address.toString(16)} are outside the ${this.size} bytes of RAM`);
    }
    return this.#bytes.subarray(address, address + length);
  }

  written(address: number, length: number): void {
    const last = (address + length - 1) >>> PAGE_SHIFT;
    for (let page = address >>> PAGE_SHIFT; page <= last; page++) {
      if (this.codePages[page] !== 0) {
        for (const listener of this.#listeners) listener(address, length);
        return;
      }
    }
  }

  /** Be told of writes to pages marked in {@link codePages}. */
  onCodeWrite(listener: CodeWriteListener): void {
    this.#listeners.push(listener);
  }

  /** An engine translates code of the page at this physical address from now on: stores to it have to be seen. */
  holdCode(page: number): void {
    const index = page / PAGE_SIZE;
    const holders = this.codePages[index] ?? 0;
    this.codePages[index] = holders + 1;
    if (holders === 0) for (const listener of this.#newCodeListeners) listener(page);
  }

  /** The engine holds no code of the page any more. */
  releaseCode(page: number): void {
    const index = page / PAGE_SIZE;
    this.codePages[index] = (this.codePages[index] ?? 1) - 1;
  }

  /** Be told of pages that begin to hold translated code. */
  onNewCode(listener: (page: number) => void): void {
    this.#newCodeListeners.push(listener);
  }

  /** First of `count` free pages in a row, a multiple of `alignment`. */
  #findFree(count: number, from: number, alignment: number): number | undefined {
    let run = 0;
    for (let page = from; page < this.#used.length; page++) {
      if (this.#used[page] !== 0) run = 0;
      else if (run > 0 || page % alignment === 0) run += 1;
      if (run === count) return page - count + 1;
    }
    return undefined;
  }
}
