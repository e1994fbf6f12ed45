import { PAGE_SIZE, type PhysicalMemory } from "../contract/index.js";
import type { VmState } from "../state/vcpu-state.js";
import { gfnOf } from "./slots.js";

/** Call `step` for each part of a range that lies in one page; false as soon as one has no slot. */
function eachPage(
  vm: VmState,
  address: number,
  length: number,
  write: boolean,
  step: (host: number, offset: number, bytes: number) => void,
): boolean {
  for (let done = 0; done < length;) {
    const at = address + done;
    const bytes = Math.min(length - done, PAGE_SIZE - (at % PAGE_SIZE));
    const gfn = gfnOf(at);
    const slot = vm.slots.find(gfn);
    if (slot === undefined || (write && slot.readonly)) return false;
    step(slot.hostAddress + (at - slot.baseGfn * PAGE_SIZE), done, bytes);
    if (write) vm.slots.markDirty(gfn);
    done += bytes;
  }
  return true;
}

/** kvm_read_guest: false where a byte of the range has no slot. */
export function readGuest(vm: VmState, address: number, into: Uint8Array): boolean {
  const { memory } = vm.kvm.host;
  return eachPage(vm, address, into.length, false, (host, offset, bytes) => {
    into.set(memory.view(host, bytes), offset);
  });
}

/** kvm_write_guest: marks the pages dirty. False where a byte has no slot, or a read-only one. */
export function writeGuest(vm: VmState, address: number, data: Uint8Array): boolean {
  const { memory } = vm.kvm.host;
  return eachPage(vm, address, data.length, true, (host, offset, bytes) => {
    writeHost(memory, host, data.subarray(offset, offset + bytes));
  });
}

function writeHost(memory: PhysicalMemory, host: number, data: Uint8Array): void {
  memory.view(host, data.length).set(data);
  memory.written(host, data.length);
}

/** kvm_clear_guest_page. */
export function clearGuestPage(vm: VmState, gfn: number): boolean {
  return writeGuest(vm, gfn * PAGE_SIZE, new Uint8Array(PAGE_SIZE));
}
