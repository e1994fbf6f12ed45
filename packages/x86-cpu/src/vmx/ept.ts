import {
  EPT,
  EPTP,
  EPT_MEMORY_TYPE_SHIFT,
  EPT_VIOLATION,
  EXIT_REASON,
  PAGE_OFFSET_MASK,
  PAGE_SHIFT,
  PAGE_SIZE,
  VMX_EPT_VPID_CAP,
  type CapabilityField,
} from "@tapvisor/x86-isa";
import { isEptType } from "../memory/memory-types.js";
import type { Ram } from "../memory/ram.js";
import { ACCESS_FETCH, ACCESS_READ, ACCESS_WRITE, type AccessKind, type SecondStage } from "../paging/second-stage.js";
import { TWO_32 } from "../words.js";
import { F } from "./fields.js";
import type { NonRoot } from "./non-root.js";

const LEVELS = 4;
const LEVEL_BITS = 9;
/** Bits 51:12 of an entry, by halves. */
const ADDRESS_LOW = 0xfffff000;
const ADDRESS_HIGH = 0xfffff;

/** Bits 7:3 of an entry of the highest level, and bits 6:3 of one that names a table, are reserved. */
const RESERVED_TOP = 0xf8;
const RESERVED_TABLE = 0x78;

/** Guest-physical pages whose translations are remembered; a power of two. */
const CACHED_PAGES = 512;

/** Rights that an access needs, and its bits of the exit qualification, by kind. */
const WANTED: Readonly<Record<AccessKind, number>> = {
  [ACCESS_READ]: EPT.READ,
  [ACCESS_WRITE]: EPT.WRITE,
  [ACCESS_FETCH]: EPT.EXECUTE,
};

/** What a guest-physical address is of. */
const OF = {
  /** The page that the guest's linear address translates to. */
  LINEAR: 0,
  /** An entry of the guest's paging structures. */
  STRUCTURE: 1,
  /** The PDPTEs, which are loaded for no linear address. */
  PDPTE: 2,
} as const;

/** What one profile has of EPT. */
export interface EptModel {
  readonly physicalAddressBits: number;
  eptVpidHas(field: CapabilityField): boolean;
}

/**
 * Translation of guest-physical addresses by the EPT paging structures (SDM vol. 3, "The Extended Page Table Mechanism
 * (EPT)").
 */
export class EptWalker implements SecondStage {
  /**
   * Guest-physical mappings (SDM vol. 3, "Information That May Be Cached"): for each guest-physical page the host
   * physical one, and the accesses that a walk has allowed and set the flags for. INVEPT drops them.
   */
  readonly #cachedPage = new Float64Array(CACHED_PAGES).fill(-1);
  readonly #cachedHost = new Float64Array(CACHED_PAGES);
  readonly #cachedAccess = new Uint8Array(CACHED_PAGES);
  #cachedLow = 0;
  #cachedHigh = 0;
  /** Bits of the high half of an entry that are reserved: those past the physical-address width. */
  readonly #reservedHigh: number;
  readonly #executeOnly: boolean;
  readonly #largePage: readonly boolean[];

  constructor(
    private readonly ram: Ram,
    private readonly nonRoot: NonRoot,
    model: EptModel,
  ) {
    this.#reservedHigh = (ADDRESS_HIGH >> (model.physicalAddressBits - 32)) << (model.physicalAddressBits - 32);
    this.#executeOnly = model.eptVpidHas(VMX_EPT_VPID_CAP.EPT_EXECUTE_ONLY);
    // By level, 1 for the page table.
    this.#largePage = [
      false,
      false,
      model.eptVpidHas(VMX_EPT_VPID_CAP.EPT_2MB_PAGE),
      model.eptVpidHas(VMX_EPT_VPID_CAP.EPT_1GB_PAGE),
      false,
    ];
  }

  translate(gpa: number, kind: AccessKind, ofStructure: boolean, linearLow: number, linearHigh: number): number {
    return this.#walk(gpa, WANTED[kind], ofStructure ? OF.STRUCTURE : OF.LINEAR, linearLow, linearHigh);
  }

  /** Translate the guest-physical address of a PDPTE that MOV to CR0, CR3 or CR4 loads. */
  translatePdpte(gpa: number): number {
    return this.#walk(gpa, EPT.READ, OF.PDPTE, 0, 0);
  }

  /** Forget what is remembered of translations. */
  flush(): void {
    this.#cachedPage.fill(-1);
  }

  #walk(gpa: number, access: number, of: number, linearLow: number, linearHigh: number): number {
    const vmcs = this.nonRoot.words;
    const eptp = vmcs[F.EPT_POINTER] as number;
    const accessedDirty = (eptp & EPTP.ACCESSED_DIRTY) !== 0;
    // With accessed and dirty flags, an access to a paging-structure entry counts as a write.
    const wanted = of !== OF.LINEAR && accessedDirty ? access | EPT.WRITE : access;
    if (eptp !== this.#cachedLow || vmcs[F.EPT_POINTER + 1] !== this.#cachedHigh) {
      this.flush();
      this.#cachedLow = eptp;
      this.#cachedHigh = vmcs[F.EPT_POINTER + 1] as number;
    }
    const page = Math.floor(gpa / PAGE_SIZE);
    const slot = page & (CACHED_PAGES - 1);
    const known = this.#cachedPage[slot] === page;
    if (known && ((this.#cachedAccess[slot] as number) & wanted) === wanted) {
      return (this.#cachedHost[slot] as number) + (gpa & PAGE_OFFSET_MASK);
    }
    // A violation drops what was used of the translation (SDM vol. 3, "Operations that Invalidate Cached Mappings").
    if (known) this.#cachedPage[slot] = -1;
    const host = this.#walkTables(gpa, wanted, of, linearLow, linearHigh);
    const hostPage = host - (host % PAGE_SIZE);
    const same = known && this.#cachedHost[slot] === hostPage;
    this.#cachedAccess[slot] = same ? (this.#cachedAccess[slot] as number) | wanted : wanted;
    this.#cachedPage[slot] = page;
    this.#cachedHost[slot] = hostPage;
    return host;
  }

  #walkTables(gpa: number, wanted: number, of: number, linearLow: number, linearHigh: number): number {
    const vmcs = this.nonRoot.words;
    const eptp = vmcs[F.EPT_POINTER] as number;
    const accessedDirty = (eptp & EPTP.ACCESSED_DIRTY) !== 0;
    const { ram } = this;
    let table = ((eptp & ADDRESS_LOW) >>> 0) + ((vmcs[F.EPT_POINTER + 1] as number) & ADDRESS_HIGH) * TWO_32;
    let rights: number = EPT.RWX;
    for (let level = LEVELS; ; level--) {
      const shift = PAGE_SHIFT + LEVEL_BITS * (level - 1);
      const at = table + (Math.floor(gpa / 2 ** shift) % (1 << LEVEL_BITS)) * 8;
      // Where there is no RAM all bits read as 1, which no entry may have.
      const inRam = ram.contains(at, 8);
      const low = inRam ? ram.readWord(at) : 0xffffffff;
      const high = inRam ? ram.readWord(at + 4) : 0xffffffff;
      const present = low & EPT.RWX;
      if (present === 0) this.#violation(gpa, wanted, of, 0, linearLow, linearHigh);
      const leaf = level === 1 || ((low & EPT.LARGE_PAGE) !== 0 && this.#largePage[level] === true);
      if (this.#misconfigured(level, low, high, leaf)) this.#misconfiguration(gpa, linearLow, linearHigh);
      rights &= present;
      if (!leaf) {
        if (accessedDirty && (low & EPT.ACCESSED) === 0) ram.writeU32(at, (low | EPT.ACCESSED) >>> 0);
        table = ((low & ADDRESS_LOW) >>> 0) + (high & ADDRESS_HIGH) * TWO_32;
        continue;
      }
      if ((rights & wanted) !== wanted) this.#violation(gpa, wanted, of, rights, linearLow, linearHigh);
      if (accessedDirty) {
        const flags = (wanted & EPT.WRITE) !== 0 ? EPT.ACCESSED | EPT.DIRTY : EPT.ACCESSED;
        if ((low & flags) !== flags) ram.writeU32(at, (low | flags) >>> 0);
      }
      const page = ((low & ADDRESS_LOW) >>> 0) + (high & ADDRESS_HIGH) * TWO_32;
      return page + (gpa % 2 ** shift);
    }
  }

  #misconfigured(level: number, low: number, high: number, leaf: boolean): boolean {
    const present = low & EPT.RWX;
    // Writable without readable, or execute-only where that does not exist.
    if ((present & (EPT.READ | EPT.WRITE)) === EPT.WRITE) return true;
    if (present === EPT.EXECUTE && !this.#executeOnly) return true;
    if ((high & this.#reservedHigh) !== 0) return true;
    if (level === LEVELS) return (low & RESERVED_TOP) !== 0;
    if (!leaf) return (low & (RESERVED_TABLE | EPT.LARGE_PAGE)) !== 0;
    if (!isEptType((low & EPT.MEMORY_TYPE) >> EPT_MEMORY_TYPE_SHIFT)) return true;
    // A large page is aligned to its size.
    const alignment = 2 ** (PAGE_SHIFT + LEVEL_BITS * (level - 1)) - PAGE_SIZE;
    return (low & alignment) !== 0;
  }

  #violation(gpa: number, access: number, of: number, rights: number, low: number, high: number): never {
    let qualification = access | (rights << 3);
    if (of !== OF.PDPTE) qualification |= EPT_VIOLATION.LINEAR_VALID;
    if (of === OF.LINEAR) qualification |= EPT_VIOLATION.TRANSLATED;
    return this.nonRoot.secondStage(EXIT_REASON.EPT_VIOLATION, qualification, gpa, low, high);
  }

  #misconfiguration(gpa: number, low: number, high: number): never {
    return this.nonRoot.secondStage(EXIT_REASON.EPT_MISCONFIG, 0, gpa, low, high);
  }
}
