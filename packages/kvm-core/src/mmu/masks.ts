import type { PteMasks } from "../contract/index.js";

/** Write permission: the same bit in every second-stage format. */
const WRITABLE = 2n;

/**
 * How second-stage entries are made, from the masks that the backend has set (kvm_mmu_set_mask_ptes and
 * kvm_mmu_set_mmio_spte_mask). Entries are kept as two words, so that filling a table makes no bigint.
 */
export class SpteFormat {
  /** Flags of an entry that points to a table. */
  linkLow = 3;
  linkHigh = 0;
  /** Flags of a leaf without write permission, and with it. */
  readLow = 1;
  writeLow = 3;
  leafHigh = 0;
  presentMask = 1;
  /** An entry that misconfigures on purpose: what is here is not memory. */
  mmioLow = 0;
  mmioHigh = 0;

  setMasks(masks: PteMasks): void {
    const link = masks.present | WRITABLE | masks.user | masks.execute | masks.accessed;
    const read = masks.present | masks.user | masks.execute | masks.accessed;
    const write = read | WRITABLE | masks.dirty;
    this.linkLow = low(link);
    this.linkHigh = high(link);
    this.readLow = low(read);
    this.writeLow = low(write);
    this.leafHigh = high(read);
    // Where execute-only is possible, presence is any permission at all.
    this.presentMask = low(masks.present | masks.user | masks.execute | WRITABLE);
  }

  setMmioMask(mask: bigint): void {
    this.mmioLow = low(mask);
    this.mmioHigh = high(mask);
  }

  isWritable(entryLow: number): boolean {
    return (entryLow & Number(WRITABLE)) !== 0;
  }

  withoutWrite(entryLow: number): number {
    return (entryLow & ~Number(WRITABLE)) >>> 0;
  }

  isMmio(entryLow: number, entryHigh: number): boolean {
    if (this.mmioLow === 0 && this.mmioHigh === 0) return false;
    return (entryLow & 0xfff) === (this.mmioLow & 0xfff) && (entryHigh & 0xfff00000) === (this.mmioHigh & 0xfff00000);
  }
}

const low = (value: bigint): number => Number(value & 0xffffffffn);
const high = (value: bigint): number => Number((value >> 32n) & 0xffffffffn);
