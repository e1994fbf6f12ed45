import { AddressBus } from "../buses/address-bus.js";
import type { I8254 } from "../irqchip/i8254.js";
import type { I8259Pair } from "../irqchip/i8259-pair.js";
import type { Ioapic } from "../irqchip/ioapic.js";
import { MemorySlots } from "../memory/slots.js";
import { SpteTable } from "../mmu/spte-table.js";
import type { KvmState } from "./kvm-state.js";

/** Where the identity map lies unless KVM_SET_IDENTITY_MAP_ADDR moves it. */
export const DEFAULT_IDENTITY_MAP = 0xfffbc000;

const PORTS = 0x10000;
/** Guest physical addresses have at most 52 bits. */
const ADDRESSES = 2 ** 52;

/** The second-stage page table of a VM, which serves all its vCPUs. */
export interface TdpState {
  readonly table: SpteTable;
  /** Frames whose entries stand for memory-mapped I/O. */
  readonly mmioFrames: Set<number>;
}

/**
 * struct kvm. A VM knows its vCPUs, and each of them its VM: `V` is the vCPU's type, which is declared above this one
 * (`VmState` in vcpu-state.ts is this with its vCPUs).
 */
export class VmFields<V> {
  readonly vcpus: V[] = [];
  /** What the backend keeps for the VM. */
  backendState: object | undefined;
  readonly slots: MemorySlots;
  readonly tdp: TdpState;
  /** The vCPU that boots after reset; the others wait for SIPI. */
  bootVcpuId = 0;
  irqchipInKernel = false;
  ioapic: Ioapic | undefined;
  pic: I8259Pair | undefined;
  pit: I8254 | undefined;
  identityMapAddr = DEFAULT_IDENTITY_MAP;
  destroyed = false;
  /** Devices on ports, and on guest physical addresses. */
  readonly buses = { port: new AddressBus(PORTS), memory: new AddressBus(ADDRESSES) };
  /** What the last writes to the vCPUs' TSCs were, to tell an attempt to synchronize them. */
  readonly tsc = { lastNanoseconds: 0n, lastWrite: 0n, lastKhz: 0, offset: 0n };
  noncoherentDma = false;

  constructor(
    readonly kvm: KvmState,
    readonly id: number,
  ) {
    const { host, spte } = kvm;
    this.slots = new MemorySlots(host.memory.size);
    this.tdp = { table: new SpteTable(host.memory, spte, () => kvm.tdpLevel), mmioFrames: new Set() };
  }
}
