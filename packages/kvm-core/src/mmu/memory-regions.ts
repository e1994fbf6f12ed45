import { KvmError, PAGE_SIZE, type UserMemoryRegion } from "../contract/index.js";
import { PRIVATE_SLOTS, type Slot, USER_SLOTS } from "../memory/slots.js";
import type { VmState } from "../state/vcpu-state.js";
import { forgetMmio, writeProtect, zapAll, zapCollapsible } from "./tdp.js";

/** kvm_set_memory_region, for slots of user space: what changes of a slot, changes in the second-stage tables. */
export function setUserMemoryRegion(vm: VmState, region: UserMemoryRegion): void {
  setRegion(vm, region, USER_SLOTS);
}

/**
 * x86_set_memory_region: a slot of the backend's own, with pages of the host's. Returns its first page.
 *
 * @param slot an id behind those of user space: 509 to 511
 */
export function setPrivateSlot(vm: VmState, slot: number, guestPhysAddr: number, bytes: number): number {
  if (vm.slots.byId(slot)) throw new KvmError("EEXIST", "x86_set_memory_region", `private slot ${slot} exists`);
  const { memory } = vm.kvm.host;
  const pages = bytes / PAGE_SIZE;
  const hostAddress = memory.allocatePages(pages);
  try {
    setRegion(vm, { slot, guestPhysAddr, memorySize: bytes, hostAddress }, USER_SLOTS + PRIVATE_SLOTS);
  } catch (error) {
    memory.freePages(hostAddress, pages);
    throw error;
  }
  return hostAddress;
}

export function freePrivateSlots({ slots, kvm }: VmState): void {
  for (let id = USER_SLOTS; id < USER_SLOTS + PRIVATE_SLOTS; id++) {
    const slot = slots.byId(id);
    if (slot === undefined) continue;
    slots.install(id, undefined);
    kvm.host.memory.freePages(slot.hostAddress, slot.npages);
  }
}

function setRegion(vm: VmState, region: UserMemoryRegion, idLimit: number): void {
  const { change, before, after } = vm.slots.check(region, idLimit);
  if (change === "none") return;
  vm.slots.install(region.slot, after);
  if (change === "delete" || change === "move") zapAll(vm);
  forgetMmio(vm);
  if (after && change !== "delete") applyFlags(vm, after, before);
  vm.kvm.hooks.memorySlotChanged.call({ vm, change, slot: after, old: before });
}

/** kvm_mmu_slot_apply_flags. */
function applyFlags(vm: VmState, slot: Slot, old: Slot | undefined): void {
  const { ops } = vm.kvm;
  if (slot.readonly) {
    writeProtect(vm, slot);
    return;
  }
  if (old?.dirtyBitmap !== undefined && slot.dirtyBitmap === undefined) zapCollapsible(vm, slot);
  if (slot.dirtyBitmap === undefined) ops.slot_disable_log_dirty?.(vm, slot);
  else if (ops.slot_enable_log_dirty) ops.slot_enable_log_dirty(vm, slot);
  else writeProtect(vm, slot);
}

/** KVM_GET_DIRTY_LOG: the pages written since the last call; from now on their writes are logged again. */
export function takeDirtyLog(vm: VmState, id: number): Uint32Array {
  const slot = vm.slots.byId(id);
  if (slot?.dirtyBitmap === undefined) {
    throw new KvmError("ENOENT", "KVM_GET_DIRTY_LOG", `slot ${id} does not exist, or does not log dirty pages`);
  }
  const { ops } = vm.kvm;
  ops.flush_log_dirty?.(vm);
  const log = slot.dirtyBitmap.slice();
  slot.dirtyBitmap.fill(0);
  if (ops.enable_log_dirty_pt_masked) {
    for (let word = 0; word < log.length; word += 2) {
      const mask = BigInt(log[word] ?? 0) | (BigInt(log[word + 1] ?? 0) << 32n);
      if (mask !== 0n) ops.enable_log_dirty_pt_masked(vm, slot, word * 32, mask);
    }
  } else {
    writeProtect(vm, slot, (page) => (((log[page >> 5] ?? 0) >>> (page & 31)) & 1) === 1);
  }
  return log;
}
