import { KvmError, PAGE_SHIFT, PAGE_SIZE, type MemorySlot, type UserMemoryRegion } from "../contract/index.js";

/** KVM_USER_MEM_SLOTS: ids of user space; the backend's private slots come after them. */
export const USER_SLOTS = 509;
/** KVM_PRIVATE_MEM_SLOTS: TSS, identity map and APIC access page. */
export const PRIVATE_SLOTS = 3;
const MAX_PAGES = 2 ** 31 - 1;
/** Guest physical addresses have at most 52 bits. */
const ADDRESS_LIMIT = 2 ** 52;
const SYSCALL = "KVM_SET_USER_MEMORY_REGION";

/** A slot as the VM keeps it. */
export interface Slot extends MemorySlot {
  readonly dirtyBitmap: Uint32Array | undefined;
}

export type SlotChange = "create" | "delete" | "move" | "flags" | "none";

const invalid = (detail: string): KvmError => new KvmError("EINVAL", SYSCALL, detail);
const hex = (value: number): string => `0x${value.toString(16)}`;

function requireAligned(name: string, value: number): void {
  if (!Number.isSafeInteger(value) || value < 0) throw invalid(`${name} is ${value}: not an address or size`);
  if (value % PAGE_SIZE !== 0) throw invalid(`${name} is ${hex(value)}: not a multiple of ${PAGE_SIZE}`);
}

/** The memory slots of a VM: struct kvm_memslots, with every check of __kvm_set_memory_region. */
export class MemorySlots {
  readonly #byId = new Map<number, Slot>();
  /** Ordered by `baseGfn`. */
  #ordered: readonly Slot[] = [];
  #last: Slot | undefined;

  /** @param memoryBytes size of the host's RAM: a slot's backing pages lie in it */
  constructor(readonly memoryBytes: number) {}

  get all(): readonly Slot[] {
    return this.#ordered;
  }

  byId(id: number): Slot | undefined {
    return this.#byId.get(id);
  }

  /** gfn_to_memslot. */
  find(gfn: number): Slot | undefined {
    const last = this.#last;
    if (last !== undefined && gfn >= last.baseGfn && gfn < last.baseGfn + last.npages) return last;
    for (const slot of this.#ordered) {
      if (gfn < slot.baseGfn) return undefined;
      if (gfn < slot.baseGfn + slot.npages) {
        this.#last = slot;
        return slot;
      }
    }
    return undefined;
  }

  /**
   * What a change would do, with nothing done yet.
   *
   * @throws KvmError EINVAL for a bad value, EEXIST for an overlap
   */
  check(
    region: UserMemoryRegion,
    idLimit: number,
  ): { change: SlotChange; before: Slot | undefined; after: Slot | undefined } {
    const { slot: id, guestPhysAddr, memorySize, hostAddress } = region;
    if (!Number.isInteger(id) || id < 0 || id >= idLimit) throw invalid(`slot is ${id}: 0 to ${idLimit - 1}`);
    requireAligned("memorySize", memorySize);
    requireAligned("guestPhysAddr", guestPhysAddr);
    requireAligned("hostAddress", hostAddress);
    if (guestPhysAddr + memorySize > ADDRESS_LIMIT) {
      throw invalid(`guestPhysAddr + memorySize is ${hex(guestPhysAddr + memorySize)}: beyond 52 bits`);
    }
    if (hostAddress + memorySize > this.memoryBytes) {
      throw invalid(
        `hostAddress + memorySize is ${hex(hostAddress + memorySize)}: beyond the host's RAM of ${hex(this.memoryBytes)}`,
      );
    }
    const npages = memorySize / PAGE_SIZE;
    if (npages > MAX_PAGES) throw invalid(`memorySize is ${hex(memorySize)}: more than ${MAX_PAGES} pages`);
    const before = this.#byId.get(id);
    if (npages === 0) {
      if (before === undefined) throw invalid(`slot ${id} does not exist: there is nothing to delete`);
      return { change: "delete", before, after: undefined };
    }

    const readonly = region.flags?.readonly ?? false;
    const logDirty = region.flags?.logDirtyPages ?? false;
    const baseGfn = guestPhysAddr / PAGE_SIZE;
    const change = this.#changeOf(before, { baseGfn, npages, hostAddress, readonly, logDirty });
    if (change === "create" || change === "move") this.#requireFree(id, baseGfn, npages);
    if (change === "none") return { change, before, after: before };
    const bitmap = before?.dirtyBitmap ?? new Uint32Array(Math.ceil(npages / 32));
    const after = { id, baseGfn, npages, hostAddress, readonly, dirtyBitmap: logDirty ? bitmap : undefined };
    return { change, before, after };
  }

  /** An existing slot keeps its size, its pages and its read-only flag for life. */
  #changeOf(
    before: Slot | undefined,
    to: { baseGfn: number; npages: number; hostAddress: number; readonly: boolean; logDirty: boolean },
  ): SlotChange {
    if (before === undefined) return "create";
    if (to.npages !== before.npages) {
      throw invalid(
        `memorySize is ${hex(to.npages * PAGE_SIZE)}: slot ${before.id} has ${hex(before.npages * PAGE_SIZE)}, delete it first`,
      );
    }
    if (to.hostAddress !== before.hostAddress) {
      throw invalid(
        `hostAddress is ${hex(to.hostAddress)}: slot ${before.id} is at ${hex(before.hostAddress)}, delete it first`,
      );
    }
    if (to.readonly !== before.readonly) throw invalid(`flags.readonly of slot ${before.id} cannot change`);
    if (to.baseGfn !== before.baseGfn) return "move";
    return to.logDirty === (before.dirtyBitmap !== undefined) ? "none" : "flags";
  }

  #requireFree(id: number, baseGfn: number, npages: number): void {
    for (const other of this.#ordered) {
      if (other.id === id || other.id >= USER_SLOTS) continue;
      if (baseGfn < other.baseGfn + other.npages && other.baseGfn < baseGfn + npages) {
        throw new KvmError(
          "EEXIST",
          SYSCALL,
          `slot ${id} at ${hex(baseGfn * PAGE_SIZE)} overlaps slot ${other.id} at ${hex(other.baseGfn * PAGE_SIZE)}`,
        );
      }
    }
  }

  install(id: number, slot: Slot | undefined): void {
    if (slot === undefined) this.#byId.delete(id);
    else this.#byId.set(id, slot);
    this.#ordered = [...this.#byId.values()].sort((a, b) => a.baseGfn - b.baseGfn);
    this.#last = undefined;
  }

  /** Host physical address of a guest physical one, or -1 where no slot is. */
  hostAddressOf(address: number): number {
    const gfn = Math.floor(address / PAGE_SIZE);
    const slot = this.find(gfn);
    return slot === undefined ? -1 : slot.hostAddress + (address - slot.baseGfn * PAGE_SIZE);
  }

  markDirty(gfn: number): void {
    const slot = this.find(gfn);
    if (slot?.dirtyBitmap === undefined) return;
    const bit = gfn - slot.baseGfn;
    slot.dirtyBitmap[bit >> 5] = (slot.dirtyBitmap[bit >> 5] as number) | (1 << (bit & 31));
  }
}

export const gfnOf = (address: number): number => Math.floor(address / (1 << PAGE_SHIFT));
