import {
  type IoBus, KvmError, type MemorySlot, PAGE_SIZE, REQUEST, type UserMemoryRegion, type Vm,
} from "./contract/index.js"; // prettier-ignore
import { I8254 } from "./irqchip/i8254.js";
import { I8259Pair } from "./irqchip/i8259-pair.js";
import { Ioapic } from "./irqchip/ioapic.js";
import type { Kvm } from "./kvm.js";
import { readGuest, writeGuest } from "./memory/guest.js";
import { MemorySlots, PRIVATE_SLOTS, type Slot, USER_SLOTS } from "./memory/slots.js";
import { TdpMmu } from "./mmu/tdp.js";
import { kick, makeRequest } from "./requests.js";
import { KvmVcpu } from "./vcpu.js";

/** KVM_MAX_VCPU_ID and KVM_MAX_VCPUS. */
const MAX_VCPU_ID = 1023;
const MAX_VCPUS = 288;
/** Where the identity map lies unless KVM_SET_IDENTITY_MAP_ADDR moves it. */
const DEFAULT_IDENTITY_MAP = 0xfffbc000;
/** The three pages of KVM_SET_TSS_ADDR end below 4 GiB. */
const TSS_ADDRESS_END = 2 ** 32 - 3 * PAGE_SIZE;

/** The line of the timer. */
const PIT_GSI = 0;

/** A virtual machine: struct kvm with the ioctls on it. */
export class KvmVm implements Vm {
  readonly #vcpus: KvmVcpu[] = [];
  backendState: object | undefined;
  readonly slots: MemorySlots;
  readonly tdp: TdpMmu;
  /** The vCPU that boots after reset; the others wait for SIPI. */
  bootVcpuId = 0;
  irqchipInKernel = false;
  ioapic: Ioapic | undefined;
  pic: I8259Pair | undefined;
  pit: I8254 | undefined;
  identityMapAddr = DEFAULT_IDENTITY_MAP;
  destroyed = false;
  /** Devices inside the kernel: they answer without an exit to user space. */
  pioBus: IoBus | undefined;
  mmioBus: IoBus | undefined;
  /** What the last writes to the vCPUs' TSCs were, to tell an attempt to synchronize them. */
  readonly tsc = { lastNanoseconds: 0n, lastWrite: 0n, lastKhz: 0, offset: 0n };
  noncoherentDma = false;

  constructor(
    readonly kvm: Kvm,
    readonly id: number,
  ) {
    this.slots = new MemorySlots(kvm.host.memory.size);
    this.tdp = new TdpMmu(this);
  }

  get vcpus(): readonly KvmVcpu[] {
    return this.#vcpus;
  }

  #requireAlive(syscall: string): void {
    if (this.destroyed) throw new KvmError("EBADF", syscall, `VM ${this.id} was destroyed`);
  }

  // --- memory

  setUserMemoryRegion(region: UserMemoryRegion): void {
    this.#requireAlive("KVM_SET_USER_MEMORY_REGION");
    this.#setRegion(region, USER_SLOTS);
  }

  #setRegion(region: UserMemoryRegion, idLimit: number): void {
    const { change, before, after } = this.slots.check(region, idLimit);
    if (change === "none") return;
    this.slots.install(region.slot, after);
    if (change === "delete" || change === "move") this.tdp.zapAll();
    this.tdp.forgetMmio();
    if (after && change !== "delete") this.#applyFlags(after, before);
    this.kvm.hooks.memorySlotChanged({ vm: this, change, slot: after, old: before });
  }

  /** kvm_mmu_slot_apply_flags. */
  #applyFlags(slot: Slot, old: Slot | undefined): void {
    const { ops } = this.kvm;
    if (slot.readonly) {
      this.tdp.writeProtect(slot);
      return;
    }
    if (old?.dirtyBitmap !== undefined && slot.dirtyBitmap === undefined) this.tdp.zapCollapsible(slot);
    if (slot.dirtyBitmap === undefined) ops.slot_disable_log_dirty?.(this, slot);
    else if (ops.slot_enable_log_dirty) ops.slot_enable_log_dirty(this, slot);
    else this.tdp.writeProtect(slot);
  }

  /**
   * x86_set_memory_region: a slot of the backend's own, with pages of the host's. Returns its first page.
   *
   * @param slot an id behind those of user space: 509 to 511
   */
  setPrivateSlot(slot: number, guestPhysAddr: number, bytes: number): number {
    if (this.slots.byId(slot)) throw new KvmError("EEXIST", "x86_set_memory_region", `private slot ${slot} exists`);
    const { memory } = this.kvm.host;
    const pages = bytes / PAGE_SIZE;
    const hostAddress = memory.allocatePages(pages);
    try {
      this.#setRegion({ slot, guestPhysAddr, memorySize: bytes, hostAddress }, USER_SLOTS + PRIVATE_SLOTS);
    } catch (error) {
      memory.freePages(hostAddress, pages);
      throw error;
    }
    return hostAddress;
  }

  #freePrivateSlots(): void {
    for (let id = USER_SLOTS; id < USER_SLOTS + PRIVATE_SLOTS; id++) {
      const slot = this.slots.byId(id);
      if (slot === undefined) continue;
      this.slots.install(id, undefined);
      this.kvm.host.memory.freePages(slot.hostAddress, slot.npages);
    }
  }

  slotOf(gfn: number): MemorySlot | undefined {
    return this.slots.find(gfn);
  }

  readGuest(address: number, length: number): Uint8Array {
    const bytes = new Uint8Array(length);
    if (!readGuest(this, address, bytes)) throw this.#noSlot("read", address, length);
    return bytes;
  }

  writeGuest(address: number, data: Uint8Array): void {
    if (!writeGuest(this, address, data)) throw this.#noSlot("write", address, data.length);
  }

  unmapPage(guestPhysAddr: number): void {
    this.#requireAlive("kvm_mmu_notifier_invalidate_page");
    this.tdp.unmap(Math.floor(guestPhysAddr / PAGE_SIZE));
  }

  #noSlot(what: string, address: number, length: number): KvmError {
    return new KvmError(
      "EFAULT",
      `kvm_${what}_guest`,
      `${length} bytes at 0x${address.toString(16)}: not all are backed by a slot that allows it`,
    );
  }

  /** KVM_GET_DIRTY_LOG: the pages written since the last call; from now on their writes are logged again. */
  getDirtyLog(id: number): Uint32Array {
    this.#requireAlive("KVM_GET_DIRTY_LOG");
    const slot = this.slots.byId(id);
    if (slot?.dirtyBitmap === undefined) {
      throw new KvmError("ENOENT", "KVM_GET_DIRTY_LOG", `slot ${id} does not exist, or does not log dirty pages`);
    }
    const { ops } = this.kvm;
    ops.flush_log_dirty?.(this);
    const log = slot.dirtyBitmap.slice();
    slot.dirtyBitmap.fill(0);
    if (ops.enable_log_dirty_pt_masked) {
      for (let word = 0; word < log.length; word += 2) {
        const mask = BigInt(log[word]) | (BigInt(log[word + 1] ?? 0) << 32n);
        if (mask !== 0n) ops.enable_log_dirty_pt_masked(this, slot, word * 32, mask);
      }
    } else {
      this.tdp.writeProtect(slot, (page) => ((log[page >> 5] >>> (page & 31)) & 1) === 1);
    }
    return log;
  }

  // --- vCPUs

  /** KVM_CREATE_VCPU. What fails half-way is undone. */
  createVcpu(id: number): KvmVcpu {
    const syscall = "KVM_CREATE_VCPU";
    this.#requireAlive(syscall);
    if (!Number.isInteger(id) || id < 0 || id >= MAX_VCPU_ID) {
      throw new KvmError("EINVAL", syscall, `id is ${id}: 0 to ${MAX_VCPU_ID - 1}`);
    }
    if (this.#vcpus.length >= MAX_VCPUS) throw new KvmError("EINVAL", syscall, `the VM has ${MAX_VCPUS} vCPUs already`);
    const { ops } = this.kvm;
    const vcpu = ops.vcpu_create(this, id);
    if (!(vcpu instanceof KvmVcpu)) {
      throw new KvmError("EINVAL", syscall, "vcpu_create must return what vcpuInit made");
    }
    try {
      vcpu.setup();
      if (this.#vcpus.some((other) => other.id === id)) {
        throw new KvmError("EEXIST", syscall, `vCPU ${id} exists`);
      }
    } catch (error) {
      vcpu.destroy();
      throw error;
    }
    this.#vcpus.push(vcpu);
    vcpu.postcreate();
    this.kvm.hooks.vcpuCreated({ vm: this, vcpu });
    return vcpu;
  }

  // --- interrupt controllers

  /** KVM_CREATE_IRQCHIP: local APICs, the I/O APIC and the PICs; before the first vCPU. */
  createIrqchip(): void {
    const syscall = "KVM_CREATE_IRQCHIP";
    this.#requireAlive(syscall);
    if (this.irqchipInKernel) throw new KvmError("EEXIST", syscall, "the VM has its interrupt controllers already");
    if (this.#vcpus.length > 0) throw new KvmError("EINVAL", syscall, "the VM has vCPUs already");
    this.irqchipInKernel = true;
    this.ioapic = new Ioapic(this);
    this.pic = new I8259Pair(
      () => this.#wakeForPic(),
      (input) => this.irqAcknowledged(input),
    );
  }

  /** KVM_CREATE_PIT2: the timer, on line 0; after the interrupt controllers. */
  createPit2(): void {
    const syscall = "KVM_CREATE_PIT2";
    this.#requireAlive(syscall);
    if (this.pit !== undefined) throw new KvmError("EEXIST", syscall, "the VM has its timer already");
    if (!this.irqchipInKernel) {
      throw new KvmError("ENXIO", syscall, "the VM has no interrupt controller: call createIrqchip first");
    }
    this.pit = new I8254({
      now: () => this.kvm.host.clock.now(),
      createTimer: (name, fire) => this.kvm.createTimer(`${name} of vm ${this.id}`, fire),
      setIrq: (level) => this.irqLine(PIT_GSI, level),
    });
  }

  /** The PIC's INTR goes to the first vCPU whose local APIC lets it through. */
  #wakeForPic(): void {
    const vcpu = this.#vcpus.find(({ lapic }) => lapic?.acceptsPicInterrupt === true);
    if (vcpu === undefined) return;
    makeRequest(vcpu, REQUEST.EVENT);
    kick(vcpu);
  }

  /** KVM_IRQ_LINE: set a line, by KVM's default routing: below 16 one of the PICs' and of the I/O APIC's, then the latter's alone. */
  irqLine(gsi: number, level: boolean): void {
    const syscall = "KVM_IRQ_LINE";
    this.#requireAlive(syscall);
    if (!this.ioapic || !this.pic) {
      throw new KvmError("ENXIO", syscall, "the VM has no interrupt controller: call createIrqchip first");
    }
    if (!Number.isInteger(gsi) || gsi < 0 || gsi >= this.ioapic.pins) {
      throw new KvmError("EINVAL", syscall, `gsi is ${gsi}: 0 to ${this.ioapic.pins - 1}`);
    }
    if (gsi < this.pic.inputs) this.pic.setIrq(gsi, level);
    this.ioapic.setIrq(gsi, level);
  }

  /** A byte to a port of the interrupt controllers or the timer; false where the port is of neither. */
  writePort(port: number, data: Uint8Array): boolean {
    return this.pic?.portWrite(port, data) === true || this.pit?.portWrite(port, data) === true;
  }

  readPort(port: number, into: Uint8Array): boolean {
    return this.pic?.portRead(port, into) === true || this.pit?.portRead(port, into) === true;
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
    for (const vcpu of this.#vcpus) vcpu.powerOn();
  }

  /** kvm_notify_acked_irq: the service of a line's interrupt has ended, in the PIC or the I/O APIC. */
  irqAcknowledged(gsi: number): void {
    if (gsi === PIT_GSI) this.pit?.irqAcknowledged();
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
    if (this.#vcpus.length > 0) throw new KvmError("EINVAL", syscall, "the VM has vCPUs already");
    this.identityMapAddr = address === 0 ? DEFAULT_IDENTITY_MAP : address;
  }

  checkExtension(capability: string): number {
    return this.kvm.checkExtension(capability);
  }

  /** kvm_destroy_vm. */
  destroy(): void {
    if (this.destroyed) return;
    const { kvm } = this;
    kvm.hooks.vmDestroyed({ vm: this });
    this.pit?.reset();
    this.#freePrivateSlots();
    kvm.ops.vm_destroy?.(this);
    for (const vcpu of this.#vcpus) {
      kvm.hooks.vcpuDestroyed({ vm: this, vcpu });
      vcpu.destroy();
    }
    this.destroyed = true;
    this.#vcpus.length = 0;
    this.tdp.zapAll();
    kvm.vmGone(this);
  }
}
