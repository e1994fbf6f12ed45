import { PAGE_OFFSET_MASK, PAGE_SIZE } from "@tapvisor/x86-isa";
import type { AccessKind } from "./second-stage.js";
import { INVALID, TLB_ARRAY_BYTES, TLB_BANK_BYTES, TlbBank } from "./tlb-bank.js";

export { TLB_ENTRIES } from "./tlb-bank.js";

/** Address spaces whose translations are kept side by side. */
const BANKS = 8;
/** The banks, and an array that never holds anything. */
export const TLB_BYTES = BANKS * TLB_BANK_BYTES + TLB_ARRAY_BYTES;

/** The translations that an invalidation is about: all, but for what the members restrict. */
export interface TlbScope {
  readonly vpid?: number;
  readonly pcid?: number;
  /** Bits 31:12 and 63:32 of the EPT pointer. */
  readonly eptp?: readonly [low: number, high: number];
  /** Spare translations of global pages. */
  readonly keepGlobal?: boolean;
}

/**
 * The software TLB: arrays in the processor's part of the WebAssembly memory, so that the interpreter looks an address
 * up without a call. An entry holds the whole translation, of the guest's paging and the second stage, for one kind of
 * access and one privilege.
 *
 * Translations are tagged by VPID, EPTP and PCID (SDM vol. 3, "Caching Translation Information"): there is a bank of
 * arrays for each combination in use, and one of them is selected. An entry also holds what the walk found to be allowed,
 * so the paging controls that decide about it are part of the tag.
 *
 * What is in it can be seen by a guest (a stale entry still translates), so both engines use this one.
 */
export class Tlb {
  readonly #banks: readonly TlbBank[];
  /** Offset in the memory of an array in which no address is found: every access takes the slow path. */
  readonly emptyArrayOffset: number;
  #bank: TlbBank;
  #selections = 0;
  #generations = 0;

  /** @param base offset in `buffer`, a multiple of 16 */
  constructor(
    buffer: ArrayBuffer,
    readonly base: number,
    ramBase: number,
  ) {
    const renew = (): number => ++this.#generations;
    const first = new TlbBank(buffer, base, ramBase, renew);
    const rest = Array.from(
      { length: BANKS - 1 },
      (_, n) => new TlbBank(buffer, base + (n + 1) * TLB_BANK_BYTES, ramBase, renew),
    );
    this.#banks = [first, ...rest];
    this.#bank = first;
    this.select(0, 0, 0, 0, 0);
    this.emptyArrayOffset = base + BANKS * TLB_BANK_BYTES;
    new Uint32Array(buffer, this.emptyArrayOffset, TLB_ARRAY_BYTES >> 2).fill(INVALID);
  }

  /** VPID that is in force. */
  get vpid(): number {
    return this.#bank.vpid;
  }

  /**
   * What an engine remembers of code by its linear address holds for as long as this stays: it differs between address
   * spaces, and changes whenever a translation for fetches is dropped.
   */
  generation(user: boolean): number {
    return this.#bank.generations[user ? 1 : 0];
  }

  /** Offset in the memory of the array for a kind of access; it changes with the address space. */
  arrayOffset(kind: AccessKind, user: boolean): number {
    return this.#bank.arrayOffset(kind, user);
  }

  /**
   * Go over to the translations of an address space.
   *
   * @param vpid 0 without VPIDs
   * @param eptpLow low half of the EPT pointer; 0 without EPT
   * @param pcid 0 without CR4.PCIDE
   * @param mode number of the paging controls that permissions depend on
   */
  select(vpid: number, eptpLow: number, eptpHigh: number, pcid: number, mode: number): void {
    const is = (bank: TlbBank): boolean =>
      bank.pcid === pcid &&
      bank.mode === mode &&
      bank.vpid === vpid &&
      bank.eptpLow === eptpLow &&
      bank.eptpHigh === eptpHigh;
    if (is(this.#bank)) return;
    let found = this.#bank;
    let oldest = Infinity;
    for (const bank of this.#banks) {
      if (is(bank)) {
        found = bank;
        break;
      }
      if (bank.used < oldest) {
        oldest = bank.used;
        found = bank;
      }
    }
    if (!is(found)) {
      found.flush();
      found.vpid = vpid;
      found.eptpLow = eptpLow;
      found.eptpHigh = eptpHigh;
      found.pcid = pcid;
      found.mode = mode;
    }
    found.used = ++this.#selections;
    this.#bank = found;
  }

  /** Host physical address of the page that holds the linear address, or -1. */
  lookup(low: number, high: number, kind: AccessKind, user: boolean): number {
    return this.#bank.lookup(low, high, kind, user);
  }

  /**
   * @param page host physical address of the page; must be RAM
   * @param pageBytes size of the page that the guest's paging structures map
   */
  fill(
    low: number,
    high: number,
    kind: AccessKind,
    user: boolean,
    page: number,
    global: boolean,
    pageBytes: number,
  ): void {
    if (pageBytes > PAGE_SIZE) this.#bank.noteLargePage(low, high, pageBytes);
    this.#bank.fill(low, high, kind, user, page, global);
  }

  /** Drop translations. */
  flush(scope: TlbScope = {}): void {
    for (const bank of this.#banks) {
      if (!matches(bank, scope)) continue;
      if (scope.keepGlobal === true) bank.flushNonGlobal();
      else bank.flush();
    }
  }

  /** Drop the translations of the page that holds the address. Global ones of other PCIDs go too, where `scope` allows. */
  flushPage(low: number, high: number, scope: TlbScope): void {
    for (const bank of this.#banks) if (matches(bank, scope)) bank.flushPage(low, high);
  }

  /** Drop the translations for writes to a host physical page: it has become code. */
  flushWritesTo(page: number): void {
    for (const bank of this.#banks) if (bank.used !== 0) bank.flushWritesTo(page);
  }
}

function matches(bank: TlbBank, { vpid, pcid, eptp }: TlbScope): boolean {
  // A bank that has never been selected has nothing.
  if (bank.used === 0) return false;
  if (vpid !== undefined && bank.vpid !== vpid) return false;
  if (pcid !== undefined && bank.pcid !== pcid) return false;
  return eptp === undefined || (((bank.eptpLow ^ eptp[0]) & ~PAGE_OFFSET_MASK) === 0 && bank.eptpHigh === eptp[1]);
}
