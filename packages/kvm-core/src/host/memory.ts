/** Size of the only page that the host allocates. */
export { PAGE_SHIFT, PAGE_SIZE } from "@tapvisor/x86-isa";

/**
 * The host's RAM. Guest memory, page tables, VMCS regions, bitmaps and virtual-APIC pages are pages of it, and the
 * processor reads them there, as hardware does.
 *
 * Every address is a host physical one: at most 52 bits, so a number holds it exactly. One outside `[0, size)` is a fault of the host: the accessor throws `RangeError`.
 */
export interface PhysicalMemory {
  /** Bytes of RAM. */
  readonly size: number;
  /** Take one zeroed page; throws `KvmError` ENOMEM when none is left. */
  allocatePage(): number;
  /** Take `count` contiguous zeroed pages, as a memory slot needs; throws `KvmError` ENOMEM. */
  allocatePages(count: number): number;
  freePages(base: number, count: number): void;

  readU8(address: number): number;
  readU16(address: number): number;
  readU32(address: number): number;
  readU64(address: number): bigint;
  writeU8(address: number, value: number): void;
  writeU16(address: number, value: number): void;
  writeU32(address: number, value: number): void;
  writeU64(address: number, value: bigint): void;
  /** The bytes themselves, not a copy. Valid for the life of the memory: it never grows. */
  view(address: number, length: number): Uint8Array;
  /**
   * Tell the processors that software wrote here past them (a loader, a device, user space), so that translated code
   * of these bytes is dropped. Accessors above do it themselves; a writer through `view` has to.
   */
  written(address: number, length: number): void;
}
