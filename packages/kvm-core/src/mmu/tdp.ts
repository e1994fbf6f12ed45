import { PAGE_SIZE, REQUEST } from "../contract/index.js";
import type { Slot } from "../memory/slots.js";
import { mtrrConsistent } from "../msr/mtrr.js";
import { makeAllCpusRequest } from "../requests.js";
import type { KvmVcpu } from "../vcpu.js";
import type { KvmVm } from "../vm.js";
import { framesAt, PAGE_TABLE_LEVEL, SpteTable } from "./spte-table.js";

/** Outcome of a second-stage fault: retry the access, or it is not memory and the instruction must be emulated. */
export type TdpFault = "retry" | "emulate";

/**
 * The second-stage page table of a VM (two-dimensional paging), entered as the guest touches its memory: by large pages
 * where a slot and its backing lie so, otherwise by 4 KiB. One table serves all vCPUs.
 */
export class TdpMmu {
  readonly #table: SpteTable;
  /** Frames whose entries stand for memory-mapped I/O. */
  readonly #mmioFrames = new Set<number>();

  constructor(readonly vm: KvmVm) {
    const { kvm } = vm;
    this.#table = new SpteTable(kvm.host.memory, kvm.spte, () => kvm.tdpLevel);
  }

  /** Root table, made when it is first asked for. */
  root(): number {
    return this.#table.root();
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

  /** mapping_level: the largest page that the frame may be part of. Dirty pages are logged by 4 KiB. */
  #mappingLevel(vcpu: KvmVcpu, slot: Slot, gfn: number): number {
    const { kvm } = this.vm;
    if (slot.dirtyBitmap !== undefined || !kvm.largePagesEnabled) return PAGE_TABLE_LEVEL;
    const most = kvm.ops.get_lpage_level();
    let level = PAGE_TABLE_LEVEL;
    while (level < most && isLargePageAllowed(slot, gfn, level + 1)) level += 1;
    while (level > PAGE_TABLE_LEVEL && !mtrrConsistent(vcpu, firstFrame(gfn, level), framesAt(level))) level -= 1;
    return level;
  }

  #map(vcpu: KvmVcpu, slot: Slot, gfn: number, writable: boolean): void {
    const { spte, ops } = this.vm.kvm;
    const level = this.#mappingLevel(vcpu, slot, gfn);
    const at = this.#table.make(gfn, level, this.#flush);
    const page = slot.hostAddress + (firstFrame(gfn, level) - slot.baseGfn) * PAGE_SIZE;
    const memoryType = Number(ops.get_mt_mask(vcpu, gfn, false));
    this.#table.setLeaf(at, level, page, memoryType | (writable ? spte.writeLow : spte.readLow));
  }

  readonly #flush = (): void => makeAllCpusRequest(this.vm, REQUEST.TLB_FLUSH);

  #mapMmio(gfn: number): void {
    const { spte } = this.vm.kvm;
    if (spte.mmioLow === 0 && spte.mmioHigh === 0) return;
    this.#table.setMmio(this.#table.make(gfn, PAGE_TABLE_LEVEL, this.#flush), gfn * PAGE_SIZE);
    this.#mmioFrames.add(gfn);
  }

  /** Is the entry for this frame one that stands for memory-mapped I/O; "absent" where there is none. */
  kindOf(gfn: number): "mmio" | "memory" | "absent" {
    const entry = this.#table.find(gfn);
    if (entry === undefined) return "absent";
    if (this.#table.isMmio(entry.at)) return "mmio";
    return this.#table.isPresent(entry.at) ? "memory" : "absent";
  }

  /** kvm_mmu_invalidate_mmio_sptes: a slot may be where there was none. */
  forgetMmio(): void {
    for (const gfn of this.#mmioFrames) {
      const entry = this.#table.find(gfn);
      if (entry !== undefined && this.#table.isMmio(entry.at)) this.#table.clear(entry.at);
    }
    this.#mmioFrames.clear();
  }

  /** kvm_mmu_slot_remove_write_access, or of single pages: the next write faults, and is logged. */
  writeProtect(slot: Slot, isWanted: (page: number) => boolean = () => true): void {
    let changed = false;
    for (let page = 0; page < slot.npages;) {
      const gfn = slot.baseGfn + page;
      const entry = this.#table.find(gfn);
      if (entry === undefined) break;
      const { at, level } = entry;
      if ((level > PAGE_TABLE_LEVEL || isWanted(page)) && this.#table.isPresent(at) && this.#table.isWritable(at)) {
        this.#table.removeWrite(at);
        changed = true;
      }
      page += firstFrame(gfn, level) + framesAt(level) - gfn;
    }
    if (changed) this.#flush();
  }

  /** kvm_mmu_zap_collapsible_sptes: dirty pages are no longer logged, so tables make room for large pages again. */
  zapCollapsible(slot: Slot): void {
    const level = PAGE_TABLE_LEVEL + 1;
    const end = slot.baseGfn + slot.npages;
    let changed = false;
    for (let gfn = slot.baseGfn; gfn < end; gfn = firstFrame(gfn, level) + framesAt(level)) {
      if (!isLargePageAllowed(slot, gfn, level) || this.#table.find(gfn)?.level !== PAGE_TABLE_LEVEL) continue;
      const at = this.#table.make(gfn, level, () => (changed = true));
      this.#table.clear(at);
    }
    if (changed) this.#flush();
  }

  /** kvm_unmap_hva: the next access to the frame faults. A large page goes whole. */
  unmap(gfn: number): void {
    const entry = this.#table.find(gfn);
    if (entry === undefined) return;
    this.#table.clear(entry.at);
    this.#flush();
  }

  /** kvm_mmu_invalidate_zap_all_pages: give all tables back; every vCPU loads a new root before it enters again. */
  zapAll(): void {
    this.#table.destroy();
    this.#mmioFrames.clear();
    for (const vcpu of this.vm.vcpus) vcpu.arch.mmu.rootHpa = -1;
    makeAllCpusRequest(this.vm, REQUEST.MMU_RELOAD);
  }
}

const firstFrame = (gfn: number, level: number): number => gfn - (gfn % framesAt(level));

/**
 * What lpage_info counts in Linux: a large page lies in its slot whole, and the pages behind the slot are aligned as its
 * frames are.
 */
function isLargePageAllowed(slot: Slot, gfn: number, level: number): boolean {
  const frames = framesAt(level);
  const first = firstFrame(gfn, level);
  if (first < slot.baseGfn || first + frames > slot.baseGfn + slot.npages) return false;
  return (slot.hostAddress / PAGE_SIZE - slot.baseGfn) % frames === 0;
}
