import { PAGE_SIZE, REQUEST } from "../contract/index.js";
import type { Slot } from "../memory/slots.js";
import { makeAllCpusRequest } from "../requests.js";
import type { KvmVcpu } from "../vcpu.js";
import type { KvmVm } from "../vm.js";

const LEVEL_BITS = 9;
const TWO_TO_32 = 2 ** 32;

/** Outcome of a second-stage fault: retry the access, or it is not memory and the instruction must be emulated. */
export type TdpFault = "retry" | "emulate";

/**
 * The second-stage page table of a VM (two-dimensional paging): 4 KiB pages, entered as the guest touches them, taken
 * from the memory slots. One table serves all vCPUs.
 */
export class TdpMmu {
  readonly #pages: number[] = [];
  /** Addresses of the entries that stand for memory-mapped I/O. */
  #mmioEntries: number[] = [];
  #root = -1;
  /** Leaf table of the page mapped last, and the 2-MiB region that it covers. */
  #lastTable = -1;
  #lastRegion = -1;

  constructor(readonly vm: KvmVm) {}

  /** Root table, made when it is first asked for. */
  root(): number {
    if (this.#root === -1) this.#root = this.#allocate();
    return this.#root;
  }

  #allocate(): number {
    const page = this.vm.kvm.host.memory.allocatePage();
    this.#pages.push(page);
    return page;
  }

  /** Address of the leaf entry for a frame; tables on the way are made with `create`, otherwise -1 where one lacks. */
  #leaf(gfn: number, create: boolean): number {
    const region = Math.floor(gfn / 512);
    if (region === this.#lastRegion) return this.#lastTable + (gfn & 511) * 8;
    const { memory } = this.vm.kvm.host;
    const { spte } = this.vm.kvm;
    let table = create ? this.root() : this.#root;
    if (table === -1) return -1;
    for (let level = this.vm.kvm.tdpLevel; level > 1; level--) {
      const index = Math.floor(gfn / 2 ** (LEVEL_BITS * (level - 1))) & 511;
      const at = table + index * 8;
      const low = memory.readU32(at);
      if ((low & spte.presentMask) !== 0) {
        table = ((low & ~0xfff) >>> 0) + (memory.readU32(at + 4) & 0xfffff) * TWO_TO_32;
        continue;
      }
      if (!create) return -1;
      table = this.#allocate();
      memory.writeU32(at + 4, (spte.linkHigh | Math.floor(table / TWO_TO_32)) >>> 0);
      memory.writeU32(at, ((table % TWO_TO_32) | spte.linkLow) >>> 0);
    }
    this.#lastRegion = region;
    this.#lastTable = table;
    return table + (gfn & 511) * 8;
  }

  /**
   * tdp_page_fault: make the frame accessible.
   *
   * @param write the guest wants to write
   */
  fault(vcpu: KvmVcpu, gfn: number, write: boolean): TdpFault {
    const { slots } = this.vm;
    const slot = slots.find(gfn);
    if (slot === undefined) {
      this.#mapMmio(gfn);
      return "emulate";
    }
    if (slot.readonly && write) return "emulate";
    // While dirty pages are logged, a page gets write permission with its first write.
    const writable = !slot.readonly && (write || slot.dirtyBitmap === undefined);
    this.#map(vcpu, slot, gfn, writable);
    if (writable) slots.markDirty(gfn);
    return "retry";
  }

  #map(vcpu: KvmVcpu, slot: Slot, gfn: number, writable: boolean): void {
    const { memory } = this.vm.kvm.host;
    const { spte, ops } = this.vm.kvm;
    const at = this.#leaf(gfn, true);
    const page = slot.hostAddress + (gfn - slot.baseGfn) * PAGE_SIZE;
    const memoryType = Number(ops.get_mt_mask(vcpu, gfn, false));
    memory.writeU32(at + 4, (spte.leafHigh | Math.floor(page / TWO_TO_32)) >>> 0);
    memory.writeU32(at, ((page % TWO_TO_32) | memoryType | (writable ? spte.writeLow : spte.readLow)) >>> 0);
  }

  #mapMmio(gfn: number): void {
    const { spte } = this.vm.kvm;
    if (spte.mmioLow === 0 && spte.mmioHigh === 0) return;
    const { memory } = this.vm.kvm.host;
    const at = this.#leaf(gfn, true);
    const address = gfn * PAGE_SIZE;
    memory.writeU32(at + 4, (spte.mmioHigh | (Math.floor(address / TWO_TO_32) & 0xfffff)) >>> 0);
    memory.writeU32(at, ((address % TWO_TO_32) | spte.mmioLow) >>> 0);
    this.#mmioEntries.push(at);
  }

  /** Is the entry for this frame one that stands for memory-mapped I/O; "absent" where there is none. */
  kindOf(gfn: number): "mmio" | "memory" | "absent" {
    const at = this.#leaf(gfn, false);
    if (at === -1) return "absent";
    const { memory } = this.vm.kvm.host;
    const low = memory.readU32(at);
    if (this.vm.kvm.spte.isMmio(low, memory.readU32(at + 4))) return "mmio";
    return (low & this.vm.kvm.spte.presentMask) !== 0 ? "memory" : "absent";
  }

  /** kvm_mmu_invalidate_mmio_sptes: a slot may be where there was none. */
  forgetMmio(): void {
    const { memory } = this.vm.kvm.host;
    for (const at of this.#mmioEntries) {
      memory.writeU32(at, 0);
      memory.writeU32(at + 4, 0);
    }
    this.#mmioEntries = [];
  }

  /** kvm_mmu_slot_remove_write_access, or of single pages: the next write faults, and is logged. */
  writeProtect(slot: Slot, isWanted: (page: number) => boolean = () => true): void {
    const { memory } = this.vm.kvm.host;
    const { spte } = this.vm.kvm;
    let changed = false;
    for (let page = 0; page < slot.npages; page++) {
      if (!isWanted(page)) continue;
      const at = this.#leaf(slot.baseGfn + page, false);
      if (at === -1) continue;
      const low = memory.readU32(at);
      if ((low & spte.presentMask) === 0 || (low & 2) === 0 || spte.isMmio(low, memory.readU32(at + 4))) continue;
      memory.writeU32(at, (low & ~2) >>> 0);
      changed = true;
    }
    if (changed) makeAllCpusRequest(this.vm, REQUEST.TLB_FLUSH);
  }

  /** kvm_unmap_hva: the next access to the frame faults. */
  unmap(gfn: number): void {
    const at = this.#leaf(gfn, false);
    if (at === -1) return;
    const { memory } = this.vm.kvm.host;
    memory.writeU32(at, 0);
    memory.writeU32(at + 4, 0);
    makeAllCpusRequest(this.vm, REQUEST.TLB_FLUSH);
  }

  /** kvm_mmu_invalidate_zap_all_pages: give all tables back; every vCPU loads a new root before it enters again. */
  zapAll(): void {
    const { memory } = this.vm.kvm.host;
    for (const page of this.#pages) memory.freePages(page, 1);
    this.#pages.length = 0;
    this.#mmioEntries = [];
    this.#root = -1;
    this.#lastRegion = -1;
    for (const vcpu of this.vm.vcpus) vcpu.arch.mmu.rootHpa = -1;
    makeAllCpusRequest(this.vm, REQUEST.MMU_RELOAD);
  }
}
