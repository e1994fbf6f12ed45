/** A host physical address: at most 52 bits, so a number holds it exactly. */
export type HostPhysAddr = number & { readonly __brand?: "HostPhysAddr" };

/** Size of the only page that the host allocates. */
export const PAGE_SIZE = 4096;
export const PAGE_SHIFT = 12;

/**
 * The host's RAM. Guest memory, page tables, VMCS regions, bitmaps and virtual-APIC pages are pages of it, and the
 * processor reads them there, as hardware does.
 *
 * An address outside `[0, size)` is a fault of the host: the accessor throws `RangeError`.
 */
export interface PhysicalMemory {
  /** Bytes of RAM. */
  readonly size: number;
  /** Take one zeroed page; throws `KvmError` ENOMEM when none is left. */
  allocatePage(): HostPhysAddr;
  /** Take `count` contiguous zeroed pages, as a memory slot needs; throws `KvmError` ENOMEM. */
  allocatePages(count: number): HostPhysAddr;
  freePages(base: HostPhysAddr, count: number): void;

  readU8(address: HostPhysAddr): number;
  readU16(address: HostPhysAddr): number;
  readU32(address: HostPhysAddr): number;
  readU64(address: HostPhysAddr): bigint;
  writeU8(address: HostPhysAddr, value: number): void;
  writeU16(address: HostPhysAddr, value: number): void;
  writeU32(address: HostPhysAddr, value: number): void;
  writeU64(address: HostPhysAddr, value: bigint): void;
  /** The bytes themselves, not a copy. Valid for the life of the memory: it never grows. */
  view(address: HostPhysAddr, length: number): Uint8Array;
  /**
   * Tell the processors that software wrote here past them (a loader, a device, user space), so that translated code
   * of these bytes is dropped. Accessors above do it themselves; a writer through `view` has to.
   */
  written(address: HostPhysAddr, length: number): void;
}
