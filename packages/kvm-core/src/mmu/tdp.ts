import { PAGE_SIZE, REQUEST } from "../contract/index.js";
import type { Slot } from "../memory/slots.js";
import { mtrrConsistent } from "../msr/mtrr.js";
import { makeAllCpusRequest } from "../requests.js";
import type { VcpuState, VmState } from "../state/vcpu-state.js";
import { framesAt, PAGE_TABLE_LEVEL } from "./spte-table.js";

/**
 * Two-dimensional paging: the second-stage page table of a VM, entered as the guest touches its memory, by large pages
 * where a slot and its backing lie so, otherwise by 4 KiB. One table serves all vCPUs.
 */

/** Outcome of a second-stage fault: retry the access, or it is not memory and the instruction must be emulated. */
export type TdpFault = "retry" | "emulate";

/** Root table, made when it is first asked for. */
export function tdpRoot({ tdp }: VmState): number {
  return tdp.table.root();
}

/**
 * tdp_page_fault: make the frame accessible.
 *
 * @param write the guest wants to write
 */
export function tdpFault(vcpu: VcpuState, gfn: number, write: boolean): TdpFault {
  const { slots } = vcpu.vm;
  const slot = slots.find(gfn);
  if (slot === undefined) {
    mapMmio(vcpu.vm, gfn);
    return "emulate";
  }
  if (slot.readonly && write) return "emulate";
  // While dirty pages are logged, a page gets write permission with its first write.
  const writable = !slot.readonly && (write || slot.dirtyBitmap === undefined);
  map(vcpu, slot, gfn, writable);
  if (writable) slots.markDirty(gfn);
  return "retry";
}

/** mapping_level: the largest page that the frame may be part of. Dirty pages are logged by 4 KiB. */
function mappingLevel(vcpu: VcpuState, slot: Slot, gfn: number): number {
  const { kvm } = vcpu;
  if (slot.dirtyBitmap !== undefined || !kvm.largePagesEnabled) return PAGE_TABLE_LEVEL;
  const most = kvm.ops.get_lpage_level();
  let level = PAGE_TABLE_LEVEL;
  while (level < most && isLargePageAllowed(slot, gfn, level + 1)) level += 1;
  while (level > PAGE_TABLE_LEVEL && !mtrrConsistent(vcpu, firstFrame(gfn, level), framesAt(level))) level -= 1;
  return level;
}

function map(vcpu: VcpuState, slot: Slot, gfn: number, writable: boolean): void {
  const { kvm, vm } = vcpu;
  const { spte, ops } = kvm;
  const { table } = vm.tdp;
  const level = mappingLevel(vcpu, slot, gfn);
  const at = table.make(gfn, level, () => flushTlbs(vm));
  const page = slot.hostAddress + (firstFrame(gfn, level) - slot.baseGfn) * PAGE_SIZE;
  const memoryType = Number(ops.get_mt_mask(vcpu, gfn, false));
  table.setLeaf(at, level, page, memoryType | (writable ? spte.writeLow : spte.readLow));
}

function flushTlbs(vm: VmState): void {
  makeAllCpusRequest(vm, REQUEST.TLB_FLUSH);
}

function mapMmio(vm: VmState, gfn: number): void {
  const { spte } = vm.kvm;
  const { table, mmioFrames } = vm.tdp;
  if (spte.mmioLow === 0 && spte.mmioHigh === 0) return;
  table.setMmio(
    table.make(gfn, PAGE_TABLE_LEVEL, () => flushTlbs(vm)),
    gfn * PAGE_SIZE,
  );
  mmioFrames.add(gfn);
}

/** Is the entry for this frame one that stands for memory-mapped I/O; "absent" where there is none. */
export function tdpKindOf({ tdp: { table } }: VmState, gfn: number): "mmio" | "memory" | "absent" {
  const entry = table.find(gfn);
  if (entry === undefined) return "absent";
  if (table.isMmio(entry.at)) return "mmio";
  return table.isPresent(entry.at) ? "memory" : "absent";
}

/** kvm_mmu_invalidate_mmio_sptes: a slot may be where there was none. */
export function forgetMmio({ tdp: { table, mmioFrames } }: VmState): void {
  for (const gfn of mmioFrames) {
    const entry = table.find(gfn);
    if (entry !== undefined && table.isMmio(entry.at)) table.clear(entry.at);
  }
  mmioFrames.clear();
}

/** kvm_mmu_slot_remove_write_access, or of single pages: the next write faults, and is logged. */
export function writeProtect(vm: VmState, slot: Slot, isWanted: (page: number) => boolean = () => true): void {
  const { table } = vm.tdp;
  let changed = false;
  for (let page = 0; page < slot.npages;) {
    const gfn = slot.baseGfn + page;
    const entry = table.find(gfn);
    if (entry === undefined) break;
    const { at, level } = entry;
    if ((level > PAGE_TABLE_LEVEL || isWanted(page)) && table.isPresent(at) && table.isWritable(at)) {
      table.removeWrite(at);
      changed = true;
    }
    page += firstFrame(gfn, level) + framesAt(level) - gfn;
  }
  if (changed) flushTlbs(vm);
}

/** kvm_mmu_zap_collapsible_sptes: dirty pages are no longer logged, so tables make room for large pages again. */
export function zapCollapsible(vm: VmState, slot: Slot): void {
  const { table } = vm.tdp;
  const level = PAGE_TABLE_LEVEL + 1;
  const end = slot.baseGfn + slot.npages;
  let changed = false;
  for (let gfn = slot.baseGfn; gfn < end; gfn = firstFrame(gfn, level) + framesAt(level)) {
    if (!isLargePageAllowed(slot, gfn, level) || table.find(gfn)?.level !== PAGE_TABLE_LEVEL) continue;
    const at = table.make(gfn, level, () => (changed = true));
    table.clear(at);
  }
  if (changed) flushTlbs(vm);
}

/** kvm_unmap_hva: the next access to the frame faults. A large page goes whole. */
export function unmapFrame(vm: VmState, gfn: number): void {
  const { table } = vm.tdp;
  const entry = table.find(gfn);
  if (entry === undefined) return;
  table.clear(entry.at);
  flushTlbs(vm);
}

/** kvm_mmu_invalidate_zap_all_pages: give all tables back; every vCPU loads a new root before it enters again. */
export function zapAll(vm: VmState): void {
  vm.tdp.table.destroy();
  vm.tdp.mmioFrames.clear();
  for (const vcpu of vm.vcpus) vcpu.arch.mmu.rootHpa = -1;
  makeAllCpusRequest(vm, REQUEST.MMU_RELOAD);
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
