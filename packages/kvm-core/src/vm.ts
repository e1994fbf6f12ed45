import {
  KvmError, type MemorySlot, PAGE_SIZE, type UserMemoryRegion, type Vm,
} from "./contract/index.js"; // prettier-ignore
import { checkExtension } from "./extensions.js";
import { createControllers, createTimer, setLine } from "./irqchip/create.js";
import { readGuest, writeGuest } from "./memory/guest.js";
import { freePrivateSlots, setUserMemoryRegion, takeDirtyLog } from "./mmu/memory-regions.js";
import { unmapFrame, zapAll } from "./mmu/tdp.js";
import type { KvmState } from "./state/kvm-state.js";
import { DEFAULT_IDENTITY_MAP, VmFields } from "./state/vm-state.js";
import { KvmVcpu } from "./vcpu.js";

/** KVM_MAX_VCPU_ID and KVM_MAX_VCPUS. */
const MAX_VCPU_ID = 1023;
const MAX_VCPUS = 288;
/** The three pages of KVM_SET_TSS_ADDR end below 4 GiB. */
const TSS_ADDRESS_END = 2 ** 32 - 3 * PAGE_SIZE;

/** A virtual machine: the ioctls on struct kvm. */
export class KvmVm extends VmFields<KvmVcpu> implements Vm {
  readonly #gone: (vm: KvmVm) => void;

  /** @param gone told when the VM is destroyed */
  constructor(kvm: KvmState, id: number, gone: (vm: KvmVm) => void) {
    super(kvm, id);
    this.#gone = gone;
  }

  #requireAlive(syscall: string): void {
    if (this.destroyed) throw new KvmError("EBADF", syscall, `VM ${this.id} was destroyed`);
  }

  // --- memory

  setUserMemoryRegion(region: UserMemoryRegion): void {
    this.#requireAlive("KVM_SET_USER_MEMORY_REGION");
    setUserMemoryRegion(this, region);
  }

  slotOf(gfn: number): MemorySlot | undefined {
    return this.slots.find(gfn);
  }

  readGuest(address: number, length: number): Uint8Array {
    const bytes = new Uint8Array(length);
    if (!readGuest(this, address, bytes)) throw noSlot("read", address, length);
    return bytes;
  }

  writeGuest(address: number, data: Uint8Array): void {
    if (!writeGuest(this, address, data)) throw noSlot("write", address, data.length);
  }

  unmapPage(guestPhysAddr: number): void {
    this.#requireAlive("kvm_mmu_notifier_invalidate_page");
    unmapFrame(this, Math.floor(guestPhysAddr / PAGE_SIZE));
  }

  getDirtyLog(id: number): Uint32Array {
    this.#requireAlive("KVM_GET_DIRTY_LOG");
    return takeDirtyLog(this, id);
  }

  // --- vCPUs

  /** KVM_CREATE_VCPU. What fails half-way is undone. */
  createVcpu(id: number): KvmVcpu {
    const syscall = "KVM_CREATE_VCPU";
    this.#requireAlive(syscall);
    if (!Number.isInteger(id) || id < 0 || id >= MAX_VCPU_ID) {
      throw new KvmError("EINVAL", syscall, `id is ${id}: 0 to ${MAX_VCPU_ID - 1}`);
    }
    if (this.vcpus.length >= MAX_VCPUS) throw new KvmError("EINVAL", syscall, `the VM has ${MAX_VCPUS} vCPUs already`);
    const { ops } = this.kvm;
    const vcpu = ops.vcpu_create(this, id);
    if (!(vcpu instanceof KvmVcpu)) {
      throw new KvmError("EINVAL", syscall, "vcpu_create must return what vcpuInit made");
    }
    try {
      vcpu.setup();
      if (this.vcpus.some((other) => other.id === id)) {
        throw new KvmError("EEXIST", syscall, `vCPU ${id} exists`);
      }
    } catch (error) {
      vcpu.destroy();
      throw error;
    }
    this.vcpus.push(vcpu);
    vcpu.postcreate();
    this.kvm.hooks.vcpuCreated.call({ vm: this, vcpu });
    return vcpu;
  }

  // --- interrupt controllers

  /** KVM_CREATE_IRQCHIP: local APICs, the I/O APIC and the PICs; before the first vCPU. */
  createIrqchip(): void {
    const syscall = "KVM_CREATE_IRQCHIP";
    this.#requireAlive(syscall);
    if (this.irqchipInKernel) throw new KvmError("EEXIST", syscall, "the VM has its interrupt controllers already");
    if (this.vcpus.length > 0) throw new KvmError("EINVAL", syscall, "the VM has vCPUs already");
    createControllers(this);
  }

  /** KVM_CREATE_PIT2: the timer, on line 0; after the interrupt controllers. */
  createPit2(): void {
    const syscall = "KVM_CREATE_PIT2";
    this.#requireAlive(syscall);
    if (this.pit !== undefined) throw new KvmError("EEXIST", syscall, "the VM has its timer already");
    if (!this.irqchipInKernel) {
      throw new KvmError("ENXIO", syscall, "the VM has no interrupt controller: call createIrqchip first");
    }
    createTimer(this);
  }

  /** KVM_IRQ_LINE. */
  irqLine(gsi: number, level: boolean): void {
    const syscall = "KVM_IRQ_LINE";
    this.#requireAlive(syscall);
    if (!this.ioapic) {
      throw new KvmError("ENXIO", syscall, "the VM has no interrupt controller: call createIrqchip first");
    }
    if (!Number.isInteger(gsi) || gsi < 0 || gsi >= this.ioapic.pins) {
      throw new KvmError("EINVAL", syscall, `gsi is ${gsi}: 0 to ${this.ioapic.pins - 1}`);
    }
    setLine(this, gsi, level);
  }

  /**
   * What user space does by ioctls when a machine is reset: the interrupt controllers, the timer and the vCPUs are as
   * power-on leaves them. Memory stays.
   */
  reset(): void {
    this.#requireAlive("reset");
    this.pic?.reset();
    this.pit?.reset();
    this.ioapic?.reset();
    // The first vCPU starts the counters anew, and the others match it.
    this.tsc.lastKhz = 0;
    for (const vcpu of this.vcpus) vcpu.powerOn();
  }

  // --- the rest

  setTssAddr(address: number): void {
    const syscall = "KVM_SET_TSS_ADDR";
    this.#requireAlive(syscall);
    if (!Number.isInteger(address) || address < 0 || address > TSS_ADDRESS_END) {
      throw new KvmError(
        "EINVAL",
        syscall,
        `address is 0x${address.toString(16)}: its three pages must end below 4 GiB`,
      );
    }
    this.kvm.ops.set_tss_addr(this, address);
  }

  setIdentityMapAddr(address: number): void {
    const syscall = "KVM_SET_IDENTITY_MAP_ADDR";
    this.#requireAlive(syscall);
    if (this.vcpus.length > 0) throw new KvmError("EINVAL", syscall, "the VM has vCPUs already");
    this.identityMapAddr = address === 0 ? DEFAULT_IDENTITY_MAP : address;
  }

  checkExtension(capability: string): number {
    return checkExtension(this.kvm, capability);
  }

  /** kvm_destroy_vm. */
  destroy(): void {
    if (this.destroyed) return;
    const { kvm } = this;
    kvm.hooks.vmDestroyed.call({ vm: this });
    this.pit?.reset();
    freePrivateSlots(this);
    kvm.ops.vm_destroy?.(this);
    for (const vcpu of this.vcpus) {
      kvm.hooks.vcpuDestroyed.call({ vm: this, vcpu });
      vcpu.destroy();
    }
    this.destroyed = true;
    this.vcpus.length = 0;
    zapAll(this);
    this.#gone(this);
  }
}

function noSlot(what: "read" | "write", address: number, length: number): KvmError {
  return new KvmError(
    "EFAULT",
    `kvm_${what}_guest`,
    `${length} bytes at 0x${address.toString(16)}: not all are backed by a slot that allows it`,
  );
}
