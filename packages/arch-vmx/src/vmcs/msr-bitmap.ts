import type { PhysicalMemory } from "@tapvisor/kvm-core/contract";
import { MSR, PAGE_SIZE } from "@tapvisor/x86-isa";

/** Offsets within an MSR bitmap (SDM vol. 3, "MSR-Bitmap Address"). */
const READ = 0x000;
const WRITE = 0x800;
const HIGH = 0x400;

/** Which direction of access a bitmap lets through. */
export type MsrAccessType = "read" | "write";

/** One MSR bitmap: a page, with a bit for each MSR and direction; 1 intercepts. */
export class MsrBitmap {
  constructor(
    private readonly memory: PhysicalMemory,
    readonly address: number,
  ) {
    memory.view(address, PAGE_SIZE).fill(0xff);
  }

  /** MSRs outside both ranges always exit. */
  setIntercept(msr: number, type: MsrAccessType, intercept: boolean): void {
    const inLow = msr <= 0x1fff;
    if (!inLow && (msr < 0xc0000000 || msr > 0xc0001fff)) return;
    const bit = msr & 0x1fff;
    const byte = this.address + (type === "read" ? READ : WRITE) + (inLow ? 0 : HIGH) + (bit >> 3);
    const mask = 1 << (bit & 7);
    const old = this.memory.readU8(byte);
    this.memory.writeU8(byte, intercept ? old | mask : old & ~mask);
  }
}

/** An MSR that a guest may access without an exit. */
export interface PassThrough {
  readonly index: number;
  readonly passThrough?: "every-mode" | "long-mode";
}

/** The four bitmaps that all vCPUs share: for guests in and outside long mode, with and without a virtualized x2APIC. */
export class MsrBitmaps {
  readonly legacy: MsrBitmap;
  readonly longMode: MsrBitmap;
  readonly legacyX2apic: MsrBitmap;
  readonly longModeX2apic: MsrBitmap;

  constructor(memory: PhysicalMemory, pages: readonly [number, number, number, number], msrs: readonly PassThrough[]) {
    this.legacy = new MsrBitmap(memory, pages[0]);
    this.longMode = new MsrBitmap(memory, pages[1]);
    this.legacyX2apic = new MsrBitmap(memory, pages[2]);
    this.longModeX2apic = new MsrBitmap(memory, pages[3]);
    for (const { index, passThrough } of msrs) {
      if (passThrough === undefined) continue;
      const bitmaps = [this.longMode, this.longModeX2apic];
      if (passThrough === "every-mode") bitmaps.push(this.legacy, this.legacyX2apic);
      for (const bitmap of bitmaps) {
        bitmap.setIntercept(index, "read", false);
        bitmap.setIntercept(index, "write", false);
      }
    }
    for (const bitmap of [this.legacyX2apic, this.longModeX2apic]) {
      for (let msr: number = MSR.IA32_X2APIC_BASE; msr <= MSR.IA32_X2APIC_END; msr++)
        bitmap.setIntercept(msr, "read", false);
      // The current count is computed, not stored.
      bitmap.setIntercept(MSR.IA32_X2APIC_CUR_COUNT, "read", true);
      for (const msr of [MSR.IA32_X2APIC_TPR, MSR.IA32_X2APIC_EOI, MSR.IA32_X2APIC_SELF_IPI])
        bitmap.setIntercept(msr, "write", false);
    }
  }
}
