import {
  CR0,
  CR3,
  CR4,
  EFER,
  PAGE_1GB_SHIFT,
  PAGE_2MB_SHIFT,
  PAGE_4MB_SHIFT,
  PAGE_FAULT,
  PAGE_SHIFT,
  RFLAGS,
  slot,
  type CpuState,
} from "@tapvisor/x86-isa";
import type { Ram } from "../memory/ram.js";
import { TWO_32 } from "../words.js";
import { PTE, PTE_HIGH_XD, entryAddress } from "./entry.js";
import { ACCESS_FETCH, ACCESS_READ, ACCESS_WRITE, type AccessKind, type SecondStage } from "./second-stage.js";

const SLOT_CR0 = slot("cr0");
const SLOT_CR3 = slot("cr3");
const SLOT_CR4 = slot("cr4");
const SLOT_EFER = slot("efer");
const SLOT_FLAGS_REST = slot("flagsRest");
const SLOT_PDPTE0 = slot("pdpte0");

const CR0_PG = Number(CR0.PG);
const CR0_WP = Number(CR0.WP);
const CR4_PSE = Number(CR4.PSE);
const CR4_PAE = Number(CR4.PAE);
const CR4_PGE = Number(CR4.PGE);
const CR4_PCIDE = Number(CR4.PCIDE);
const CR4_SMEP = Number(CR4.SMEP);
const CR4_SMAP = Number(CR4.SMAP);
const EFER_LMA = Number(EFER.LMA);
const EFER_NXE = Number(EFER.NXE);
const PCID_MASK = Number(CR3.PCID);
const RFLAGS_AC = Number(RFLAGS.AC);

/** How an access is made: what decides the permission checks besides its kind. */
export const PRIVILEGE_SUPERVISOR = 0;
export const PRIVILEGE_USER = 1;
/** Supervisor whatever the CPL (descriptor tables, TSS): SMAP ignores AC. */
export const PRIVILEGE_IMPLICIT = 2;
export type Privilege = typeof PRIVILEGE_SUPERVISOR | typeof PRIVILEGE_USER | typeof PRIVILEGE_IMPLICIT;

/** Form of paging in force (SDM vol. 3, "Paging Modes and Control Bits"). */
const FORMS = ["none", "32-bit", "pae", "4-level"] as const;
export type PagingForm = (typeof FORMS)[number];

export interface PagerOptions {
  /** MAXPHYADDR. */
  readonly physicalAddressBits: number;
  /** CPUID.80000001H:EDX.Page1GB. */
  readonly page1Gb: boolean;
}

/**
 * Walks the guest's paging structures.
 *
 * One object is reused for every walk, and its result is left in its fields: a TLB miss allocates nothing. Addresses
 * of the structures are guest-physical, and go through the second stage as the translated address does.
 */
export class Pager {
  form: PagingForm = "none";
  /** PCID in force: 0 without CR4.PCIDE. */
  pcid = 0;
  /** Number of the controls that the outcome of a walk depends on, besides the structures themselves. */
  controls = 0;
  #writeProtect = false;
  #smep = false;
  smap = false;
  #noExecute = false;
  #pse = false;
  #globalPages = false;
  /** Guest-physical address of the root table. */
  #root = 0;
  /** Bits of an entry's high word that must be 0, without XD. */
  readonly #reservedHigh: number;
  /** Bits 20:13 of a 4 MiB PDE that exceed MAXPHYADDR, and bit 21. */
  readonly #reservedPse36: number;
  readonly #page1Gb: boolean;

  // --- result of the newest translate()
  /** Error code of the #PF, when translate() returned -1. */
  faultCode = 0;
  /** Size of the guest's page. 0 without paging: no limit but the second stage's. */
  pageBytes = 0;
  /** U/S of the whole walk: with SMAP, such a page is reached by a supervisor only while AC is set. */
  userPage = false;
  global = false;

  // --- entries used by the walk in progress, for the accessed flags
  readonly #usedAddress = [0, 0, 0, 0];
  readonly #usedLow = [0, 0, 0, 0];
  #usedCount = 0;

  constructor(
    private readonly state: CpuState,
    private readonly ram: Ram,
    options: PagerOptions,
    /** Exchanged at VM entry and exit. */
    public secondStage: SecondStage,
  ) {
    const width = options.physicalAddressBits;
    this.#reservedHigh = width >= 52 ? 0 : (0xf_ffff << (width - 32)) & 0xf_ffff;
    const pse36Bits = Math.min(width, 40) - 32;
    this.#reservedPse36 = ((0x1ff << (13 + Math.max(pse36Bits, 0))) & 0x1f_e000) | (1 << 21);
    this.#page1Gb = options.page1Gb;
  }

  /** Read the control registers again: they have changed. */
  reload(): void {
    const { state } = this;
    const cr0 = state.get32(SLOT_CR0) >>> 0;
    const cr4 = state.get32(SLOT_CR4);
    const efer = state.get32(SLOT_EFER);
    const pae = (cr4 & CR4_PAE) !== 0;
    if ((cr0 & CR0_PG) >>> 0 === 0) this.form = "none";
    else if ((efer & EFER_LMA) !== 0) this.form = "4-level";
    else this.form = pae ? "pae" : "32-bit";
    this.#writeProtect = (cr0 & CR0_WP) !== 0;
    this.#smep = (cr4 & CR4_SMEP) !== 0;
    this.smap = (cr4 & CR4_SMAP) !== 0;
    this.#pse = (cr4 & CR4_PSE) !== 0;
    this.#globalPages = (cr4 & CR4_PGE) !== 0;
    this.#noExecute = (efer & EFER_NXE) !== 0 && pae;
    const low = state.get32(SLOT_CR3) >>> 0;
    const high = state.get32(SLOT_CR3 + 4);
    this.#root = entryAddress(low, this.form === "4-level" ? high : 0);
    this.pcid = (cr4 & CR4_PCIDE) !== 0 ? low & PCID_MASK : 0;
    this.controls =
      FORMS.indexOf(this.form) |
      (this.#writeProtect ? 4 : 0) |
      (this.#smep ? 8 : 0) |
      (this.smap ? 16 : 0) |
      (this.#noExecute ? 32 : 0) |
      (this.#pse ? 64 : 0) |
      (this.#globalPages ? 128 : 0);
  }

  /**
   * Translate a canonical linear address to a host physical one, set accessed and dirty flags, and leave the
   * details in the fields.
   *
   * @returns the host physical address, or -1 for a #PF whose error code is in {@link faultCode}
   */
  translate(low: number, high: number, kind: AccessKind, privilege: Privilege): number {
    switch (this.form) {
      case "none":
        this.pageBytes = 0;
        this.userPage = false;
        this.global = false;
        return this.secondStage.translate(low >>> 0, kind, false, low, high);
      case "32-bit":
        return this.#walk32(low, kind, privilege);
      case "pae":
        return this.#walkPae(low, kind, privilege);
      case "4-level":
        return this.#walk4Level(low, high, kind, privilege);
    }
  }

  #walk4Level(low: number, high: number, kind: AccessKind, privilege: Privilege): number {
    this.#usedCount = 0;
    const pml4e = this.#root + ((high >>> 7) & 0x1ff) * 8;
    return this.#walkLevels(pml4e, 4, low, high, kind, privilege);
  }

  #walkPae(low: number, kind: AccessKind, privilege: Privilege): number {
    this.#usedCount = 0;
    const pdpte = SLOT_PDPTE0 + (low >>> PAGE_1GB_SHIFT) * 8;
    const entry = this.state.get32(pdpte);
    // Reserved bits of PDPTEs are checked when CR3 is loaded, and they hold no permissions.
    if ((entry & PTE.P) === 0) return this.#fault(0, kind, privilege);
    const table = entryAddress(entry, this.state.get32(pdpte + 4));
    return this.#walkLevels(table + ((low >>> PAGE_2MB_SHIFT) & 0x1ff) * 8, 2, low, 0, kind, privilege);
  }

  /** Tables of 64-bit entries, from the entry at guest-physical `address` of `level` down. */
  #walkLevels(
    address: number,
    level: number,
    low: number,
    high: number,
    kind: AccessKind,
    privilege: Privilege,
  ): number {
    const reservedHigh = this.form === "pae" ? this.#reservedHigh | 0x7ff0_0000 : this.#reservedHigh;
    let writable: number = PTE.W;
    let user: number = PTE.U;
    let executeDisable = 0;
    for (;;) {
      const host = this.secondStage.translate(address, ACCESS_READ, true, low, high);
      const entryLow = this.#readWord(host);
      const entryHigh = this.#readWord(host + 4);
      if ((entryLow & PTE.P) === 0) return this.#fault(0, kind, privilege);
      const large = (entryLow & PTE.PS) !== 0 && level > 1;
      if (this.#hasReservedBits(entryLow, entryHigh, reservedHigh, level, large)) {
        return this.#fault(PAGE_FAULT.P | PAGE_FAULT.RSVD, kind, privilege);
      }
      writable &= entryLow;
      user &= entryLow;
      executeDisable |= entryHigh & PTE_HIGH_XD;
      this.#use(address, entryLow);
      if (level === 1 || large) {
        const shift = level === 1 ? PAGE_SHIFT : level === 2 ? PAGE_2MB_SHIFT : PAGE_1GB_SHIFT;
        return this.#finish(
          entryLow,
          entryAddress(entryLow, entryHigh),
          shift,
          { writable: writable !== 0, user: user !== 0, executeDisable: executeDisable !== 0 },
          low,
          high,
          kind,
          privilege,
        );
      }
      level--;
      const index =
        level === 3
          ? ((high & 0x7f) << 2) | (low >>> PAGE_1GB_SHIFT)
          : level === 2
            ? low >>> PAGE_2MB_SHIFT
            : low >>> PAGE_SHIFT;
      address = entryAddress(entryLow, entryHigh) + (index & 0x1ff) * 8;
    }
  }

  #hasReservedBits(low: number, high: number, reservedHigh: number, level: number, large: boolean): boolean {
    if ((high & reservedHigh) !== 0) return true;
    if ((high & PTE_HIGH_XD) !== 0 && !this.#noExecute) return true;
    if (!large) return level === 4 && (low & PTE.PS) !== 0;
    if (level === 2) return (low & 0x1f_e000) !== 0;
    return level === 4 || !this.#page1Gb || (low & 0x3fff_e000) !== 0;
  }

  #walk32(low: number, kind: AccessKind, privilege: Privilege): number {
    this.#usedCount = 0;
    const pdeAddress = this.#root + (low >>> PAGE_4MB_SHIFT) * 4;
    const pde = this.#readWord(this.secondStage.translate(pdeAddress, ACCESS_READ, true, low, 0));
    if ((pde & PTE.P) === 0) return this.#fault(0, kind, privilege);
    this.#use(pdeAddress, pde);
    if ((pde & PTE.PS) !== 0 && this.#pse) {
      if ((pde & this.#reservedPse36) !== 0) return this.#fault(PAGE_FAULT.P | PAGE_FAULT.RSVD, kind, privilege);
      // Bits 20:13 are bits 39:32 of the address (SDM vol. 3, "32-Bit Paging", PSE-36).
      const base = ((pde >>> 13) & 0xff) * TWO_32 + ((pde & 0xffc0_0000) >>> 0);
      const rights = { writable: (pde & PTE.W) !== 0, user: (pde & PTE.U) !== 0, executeDisable: false };
      return this.#finish(pde, base, PAGE_4MB_SHIFT, rights, low, 0, kind, privilege);
    }
    const pteAddress = ((pde & 0xffff_f000) >>> 0) + ((low >>> PAGE_SHIFT) & 0x3ff) * 4;
    const pte = this.#readWord(this.secondStage.translate(pteAddress, ACCESS_READ, true, low, 0));
    if ((pte & PTE.P) === 0) return this.#fault(0, kind, privilege);
    this.#use(pteAddress, pte);
    const both = pde & pte;
    const rights = { writable: (both & PTE.W) !== 0, user: (both & PTE.U) !== 0, executeDisable: false };
    return this.#finish(pte, (pte & 0xffff_f000) >>> 0, PAGE_SHIFT, rights, low, 0, kind, privilege);
  }

  /** Check the permissions of a whole walk, set the flags, and translate the final address. */
  #finish(
    leafLow: number,
    frame: number,
    shift: number,
    rights: { readonly writable: boolean; readonly user: boolean; readonly executeDisable: boolean },
    low: number,
    high: number,
    kind: AccessKind,
    privilege: Privilege,
  ): number {
    if (!this.#allowed(rights, kind, privilege)) return this.#fault(PAGE_FAULT.P, kind, privilege);
    this.#setFlags(kind === ACCESS_WRITE, low, high);
    const size = 2 ** shift;
    // The low bits of a large page's frame are flags (PAT) or already known to be 0.
    const guestPhysical = frame - (frame % size) + (low & (size - 1));
    this.pageBytes = size;
    this.userPage = rights.user;
    this.global = this.#globalPages && (leafLow & PTE.G) !== 0;
    return this.secondStage.translate(guestPhysical, kind, false, low, high);
  }

  /** SDM vol. 3, "Determination of Access Rights". */
  #allowed(
    rights: { readonly writable: boolean; readonly user: boolean; readonly executeDisable: boolean },
    kind: AccessKind,
    privilege: Privilege,
  ): boolean {
    if (kind === ACCESS_FETCH && rights.executeDisable) return false;
    if (privilege === PRIVILEGE_USER) return rights.user && (kind !== ACCESS_WRITE || rights.writable);
    if (rights.user) {
      if (kind === ACCESS_FETCH) {
        if (this.#smep) return false;
      } else if (this.smap) {
        const alignmentCheck = (this.state.get32(SLOT_FLAGS_REST) & RFLAGS_AC) !== 0;
        if (privilege === PRIVILEGE_IMPLICIT || !alignmentCheck) return false;
      }
    }
    return kind !== ACCESS_WRITE || rights.writable || !this.#writeProtect;
  }

  #fault(code: number, kind: AccessKind, privilege: Privilege): -1 {
    let errorCode = code;
    if (kind === ACCESS_WRITE) errorCode |= PAGE_FAULT.W;
    if (privilege === PRIVILEGE_USER) errorCode |= PAGE_FAULT.U;
    if (kind === ACCESS_FETCH && (this.#smep || this.#noExecute)) errorCode |= PAGE_FAULT.I;
    this.faultCode = errorCode;
    return -1;
  }

  #use(address: number, entryLow: number): void {
    this.#usedAddress[this.#usedCount] = address;
    this.#usedLow[this.#usedCount] = entryLow;
    this.#usedCount++;
  }

  /** Set the accessed flag of every entry used, and the dirty flag of the last when the access writes. */
  #setFlags(write: boolean, low: number, high: number): void {
    const last = this.#usedCount - 1;
    for (let i = 0; i <= last; i++) {
      const entry = this.#usedLow[i] ?? 0;
      const wanted = write && i === last ? PTE.A | PTE.D : PTE.A;
      if ((entry & wanted) === wanted) continue;
      const host = this.secondStage.translate(this.#usedAddress[i] ?? 0, ACCESS_WRITE, true, low, high);
      if (this.ram.contains(host, 4)) this.ram.writeU32(host, (entry | wanted) >>> 0);
    }
  }

  /** A structure that the second stage puts outside the RAM reads as all ones, as an empty bus does. */
  #readWord(host: number): number {
    return this.ram.contains(host, 4) ? this.ram.readWord(host) | 0 : -1;
  }
}
