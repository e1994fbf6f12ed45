import {
  CR0,
  GuestException,
  MAX_INSTRUCTION_BYTES,
  PAGE_OFFSET_MASK,
  PAGE_SHIFT,
  PAGE_SIZE,
  RFLAGS,
  VECTOR,
  cpl,
  isCanonical,
  slot,
  type AccessSize,
  type CpuState,
  type MemoryAccess,
} from "@tapvisor/x86-isa";
import type { Ram } from "../memory/ram.js";
import { PRIVILEGE_IMPLICIT, PRIVILEGE_SUPERVISOR, PRIVILEGE_USER, type Pager, type Privilege } from "./pager.js";
import { ACCESS_FETCH, ACCESS_READ, ACCESS_WRITE, type AccessKind } from "./second-stage.js";
import type { Tlb } from "./tlb.js";

const SLOT_CR0 = slot("cr0");
const SLOT_FLAGS_REST = slot("flagsRest");
const CR0_AM = Number(CR0.AM);
const RFLAGS_AC = Number(RFLAGS.AC);

const PAGE_BITS = BigInt(PAGE_SHIFT);
const WORD_MASK = 0xffff_ffffn;

const low32 = (linear: bigint): number => Number(linear & WORD_MASK) | 0;
const high32 = (linear: bigint): number => Number((linear >> 32n) & WORD_MASK) | 0;

/** Told of each data access before it happens; for data breakpoints. */
export type AccessWatcher = (linear: bigint, size: number, write: boolean) => void;

/**
 * The guest's linear memory, for everything but the interpreter's quick path: translation through the TLB and the
 * pager, faults in the order of the architecture, accesses that cross pages.
 */
export class GuestMemory {
  #user = false;
  #alignmentChecked = false;
  #longMode = false;
  #vpid = 0;
  #eptpLow = 0;
  #eptpHigh = 0;
  #watcher: AccessWatcher | undefined;

  constructor(
    private readonly state: CpuState,
    private readonly ram: Ram,
    readonly pager: Pager,
    readonly tlb: Tlb,
  ) {}

  /** CPL 3: the privilege of accesses that the program itself makes. */
  get user(): boolean {
    return this.#user;
  }

  /** Accesses of the program have to be aligned (SDM vol. 3, "Alignment Check Exception (#AC)"). */
  get alignmentChecked(): boolean {
    return this.#alignmentChecked;
  }

  /** The CPL or a register that paging depends on has changed. */
  modeChanged(): void {
    const { pager, state } = this;
    pager.reload();
    this.#user = cpl(state) === 3;
    this.#alignmentChecked =
      this.#user && (state.get32(SLOT_FLAGS_REST) & RFLAGS_AC) !== 0 && (state.get32(SLOT_CR0) & CR0_AM) !== 0;
    this.#longMode = pager.form === "4-level";
    this.tlb.select(this.#vpid, this.#eptpLow, this.#eptpHigh, pager.pcid, pager.controls);
  }

  /**
   * What translations are tagged with from the next {@link modeChanged} on.
   *
   * @param vpid 0 without VPIDs
   * @param eptpLow low half of the EPT pointer; 0 without EPT
   */
  enterSpace(vpid: number, eptpLow: number, eptpHigh: number): void {
    this.#vpid = vpid;
    this.#eptpLow = eptpLow;
    this.#eptpHigh = eptpHigh;
  }

  /** Be told of data accesses, or of none any more. */
  watch(watcher: AccessWatcher | undefined): void {
    this.#watcher = watcher;
  }

  load(linear: bigint, size: AccessSize, access: MemoryAccess): bigint {
    const first = this.#canonical(linear, size, access);
    this.#watcher?.(first, size, false);
    const privilege = this.#privilege(access);
    // A read-modify-write is translated once, for the write: what may be written may be read.
    const kind = access.fetch === true ? ACCESS_FETCH : access.willWrite === true ? ACCESS_WRITE : ACCESS_READ;
    const offset = Number(first & BigInt(PAGE_OFFSET_MASK));
    const inFirst = Math.min(size, PAGE_SIZE - offset);
    const host = this.translate(first, kind, privilege);
    if (this.#alignmentChecked) checkAlignment(first, size, access);
    if (inFirst === size) return this.#read(host, size);
    const rest = this.translate(this.#wrap(first + BigInt(inFirst)), kind, privilege);
    return this.#read(host, inFirst) | (this.#read(rest, size - inFirst) << BigInt(inFirst * 8));
  }

  store(linear: bigint, size: AccessSize, value: bigint, access: MemoryAccess): void {
    const first = this.#canonical(linear, size, access);
    this.#watcher?.(first, size, true);
    const privilege = this.#privilege(access);
    const offset = Number(first & BigInt(PAGE_OFFSET_MASK));
    const inFirst = Math.min(size, PAGE_SIZE - offset);
    // Both pages are translated before either is written.
    const host = this.translate(first, ACCESS_WRITE, privilege);
    if (this.#alignmentChecked) checkAlignment(first, size, access);
    if (inFirst === size) {
      this.#write(host, size, value);
      return;
    }
    const rest = this.translate(this.#wrap(first + BigInt(inFirst)), ACCESS_WRITE, privilege);
    this.#write(host, inFirst, value);
    this.#write(rest, size - inFirst, value >> BigInt(inFirst * 8));
  }

  probe(linear: bigint, size: number, access: MemoryAccess): void {
    if (size === 0) return;
    const first = this.#canonical(linear, size, access);
    const kind = access.write || access.willWrite === true ? ACCESS_WRITE : ACCESS_READ;
    const privilege = this.#privilege(access);
    this.translate(first, kind, privilege);
    // As for the access itself: what is not aligned never comes to its second page, and does not mark it.
    if (this.#alignmentChecked) checkAlignment(first, size, access);
    const last = this.#wrap(first + BigInt(size - 1));
    if (first >> PAGE_BITS !== last >> PAGE_BITS)
      this.translate(last - (last & BigInt(PAGE_OFFSET_MASK)), kind, privilege);
  }

  /**
   * The bytes of code from a linear address to the end of its page, no more than an instruction has. Not a copy.
   *
   * @param linear canonical, or 32 bits wide outside long mode
   */
  fetch(linear: bigint): Uint8Array {
    const host = this.translate(linear, ACCESS_FETCH, this.#user ? PRIVILEGE_USER : PRIVILEGE_SUPERVISOR);
    const length = Math.min(MAX_INSTRUCTION_BYTES, PAGE_SIZE - (host & PAGE_OFFSET_MASK));
    return this.ram.contains(host, length) ? this.ram.view(host, length) : ALL_ONES.subarray(0, length);
  }

  /** Host physical address of a linear one, through the TLB; a #PF is thrown. */
  translate(linear: bigint, kind: AccessKind, privilege: Privilege): number {
    const low = low32(linear);
    const high = high32(linear);
    const { tlb, pager } = this;
    const user = privilege === PRIVILEGE_USER;
    // Implicit accesses are judged apart from explicit ones where SMAP is on: they go past the TLB there.
    const cached = privilege !== PRIVILEGE_IMPLICIT || !pager.smap;
    if (cached) {
      const page = tlb.lookup(low, high, kind, user);
      if (page >= 0) return page + (low & PAGE_OFFSET_MASK);
    }
    const host = this.#walk(low, high, kind, privilege);
    if (host < 0) throw new GuestException(VECTOR.PF, pager.faultCode, linear);
    if (cached && this.#mayCache(kind, user, host)) {
      tlb.fill(low, high, kind, user, host - (host & PAGE_OFFSET_MASK), pager.global, pager.pageBytes);
    }
    return host;
  }

  /**
   * A page fault or EPT violation drops what is known of the address (SDM vol. 3, "Operations that Invalidate TLBs and
   * Paging-Structure Caches", "Operations that Invalidate Cached Mappings").
   */
  #walk(low: number, high: number, kind: AccessKind, privilege: Privilege): number {
    let host = -1;
    try {
      host = this.pager.translate(low, high, kind, privilege);
    } finally {
      if (host < 0) this.tlb.flushPage(low, high, { vpid: this.#vpid, pcid: this.pager.pcid });
    }
    return host;
  }

  #mayCache(kind: AccessKind, user: boolean, host: number): boolean {
    if (!this.ram.contains(host, 1)) return false;
    // What AC decides from one instruction to the next must be decided every time.
    if (this.pager.smap && !user && this.pager.userPage && kind !== ACCESS_FETCH) return false;
    // A store to translated code has to be seen.
    return kind !== ACCESS_WRITE || this.ram.codePages[Math.floor(host / PAGE_SIZE)] === 0;
  }

  #privilege(access: MemoryAccess): Privilege {
    if (!this.#user) return PRIVILEGE_SUPERVISOR;
    return access.system === true ? PRIVILEGE_IMPLICIT : PRIVILEGE_USER;
  }

  /** The address as the paging unit takes it; #GP or #SS where it is not canonical. */
  #canonical(linear: bigint, size: number, access: MemoryAccess): bigint {
    if (!this.#longMode) return linear & WORD_MASK;
    if (!isCanonical(linear) || !isCanonical(this.#wrap(linear + BigInt(size - 1)))) {
      throw new GuestException(access.stack === true ? VECTOR.SS : VECTOR.GP, 0);
    }
    return linear;
  }

  #wrap(linear: bigint): bigint {
    return this.#longMode ? BigInt.asUintN(64, linear) : linear & WORD_MASK;
  }

  /** Where the second stage maps no RAM, reads give all ones and writes are lost. */
  #read(host: number, size: number): bigint {
    const { ram } = this;
    if (!ram.contains(host, size)) return (1n << BigInt(size * 8)) - 1n;
    switch (size) {
      case 1:
        return BigInt(ram.readU8(host));
      case 2:
        return BigInt(ram.readU16(host));
      case 4:
        return BigInt(ram.readU32(host));
      case 8:
        return ram.readU64(host);
      default: {
        let value = 0n;
        for (let i = size - 1; i >= 0; i--) value = (value << 8n) | BigInt(ram.readU8(host + i));
        return value;
      }
    }
  }

  #write(host: number, size: number, value: bigint): void {
    const { ram } = this;
    if (!ram.contains(host, size)) return;
    switch (size) {
      case 1:
        ram.writeU8(host, Number(value & 0xffn));
        return;
      case 2:
        ram.writeU16(host, Number(value & 0xffffn));
        return;
      case 4:
        ram.writeU32(host, Number(value & WORD_MASK));
        return;
      case 8:
        ram.writeU64(host, BigInt.asUintN(64, value));
        return;
      default:
        for (let i = 0; i < size; i++) ram.writeU8(host + i, Number((value >> BigInt(i * 8)) & 0xffn));
    }
  }
}

/** Sizes of which an unaligned access is #AC; what is larger, such as a vector, has rules of its own. */
const CHECKED_SIZES: readonly number[] = [2, 4, 8];

/** Raise #AC for an access that the program itself makes to an address that its size does not divide. */
function checkAlignment(linear: bigint, size: number, access: MemoryAccess): void {
  if (access.system === true || access.fetch === true || !CHECKED_SIZES.includes(size)) return;
  if ((Number(linear & 7n) & (size - 1)) !== 0) throw new GuestException(VECTOR.AC, 0);
}

const ALL_ONES = new Uint8Array(MAX_INSTRUCTION_BYTES).fill(0xff);
