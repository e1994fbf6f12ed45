import { requestIoapicScan } from "./delivery.js";
import { LapicDelivery } from "./lapic-delivery.js";
import {
  APIC, APIC_PAGE_BYTES, ICR_BUSY, LVR_DIRECTED_EOI, LVT_COUNT, LVT_MASKED, LVT_WRITABLE, SHORTHAND, SPIV_DIRECTED_EOI,
  SPIV_ENABLED, VECTOR_MASK, isReadable,
} from "./lapic-registers.js"; // prettier-ignore

/** Registers of an xAPIC that an x2APIC has not got (SDM vol. 3, "Local APIC Register Address Map Supported by x2APIC"). */
const X2APIC_ABSENT: ReadonlySet<number> = new Set([APIC.ARBPRI, APIC.DFR, APIC.ICR2]);

/**
 * A local APIC (SDM vol. 3, "Advanced Programmable Interrupt Controller (APIC)"): what the guest reads and writes of it,
 * in its page and by MSRs.
 */
export class Lapic extends LapicDelivery {
  /** kvm_lapic_reg_read of a register at a multiple of 16, or undefined where there is none. */
  read(offset: number): number | undefined {
    if (!isReadable(offset)) return undefined;
    switch (offset) {
      case APIC.ARBPRI:
        return 0;
      case APIC.TMCCT:
        return this.timer.currentCount();
      case APIC.PROCPRI:
        this.updatePpr();
        return this.register(offset);
      default:
        return this.register(offset);
    }
  }

  /** kvm_lapic_reg_write: true = no such register, or read-only; an x2APIC answers with #GP then. */
  write(offset: number, value: number): boolean {
    switch (offset) {
      case APIC.ID:
        if (this.x2apic) return true;
        this.setRegister(APIC.ID, value & 0xff000000);
        requestIoapicScan(this.vcpu.vm);
        return false;
      case APIC.TASKPRI:
        this.setTpr(value & 0xff);
        return false;
      case APIC.EOI:
        this.setEoi();
        return false;
      case APIC.LDR:
        if (this.x2apic) return true;
        this.setRegister(APIC.LDR, value & 0xff000000);
        return false;
      case APIC.DFR:
        if (this.x2apic) return true;
        this.setRegister(APIC.DFR, value | 0x0fffffff);
        return false;
      case APIC.SPIV:
        this.#writeSpurious(value);
        return false;
      case APIC.ICR:
        this.setRegister(APIC.ICR, value & ~ICR_BUSY);
        this.sendIpi();
        return false;
      case APIC.ICR2:
        this.setRegister(APIC.ICR2, this.x2apic ? value : value & 0xff000000);
        return false;
      case APIC.LVTT:
      case APIC.LVTTHMR:
      case APIC.LVTPC:
      case APIC.LVT0:
      case APIC.LVT1:
      case APIC.LVTERR:
        this.#writeLvt(offset, value);
        return false;
      case APIC.TMICT:
        if (this.timer.isTscDeadline) return false;
        this.timer.cancel();
        this.setRegister(APIC.TMICT, value);
        this.timer.start();
        return false;
      case APIC.TDCR:
        this.setRegister(APIC.TDCR, value & 0xb);
        this.updateDivideCount();
        return false;
      case APIC.ESR:
        return this.x2apic && value !== 0;
      case APIC.SELF_IPI:
        if (!this.x2apic || value > VECTOR_MASK) return true;
        return this.write(APIC.ICR, SHORTHAND.SELF | (value & VECTOR_MASK));
      default:
        return true;
    }
  }

  #writeSpurious(value: number): void {
    const directed = (this.register(APIC.LVR) & LVR_DIRECTED_EOI) !== 0 ? SPIV_DIRECTED_EOI : 0;
    this.setRegister(APIC.SPIV, value & (0x3ff | directed));
    if ((value & SPIV_ENABLED) !== 0) return;
    for (let i = 0; i < LVT_COUNT; i++) {
      const entry = APIC.LVTT + 0x10 * i;
      this.setRegister(entry, this.register(entry) | LVT_MASKED);
    }
    this.timer.updateMode();
    this.timer.pending = false;
  }

  #writeLvt(offset: number, value: number): void {
    let writable = LVT_WRITABLE[(offset - APIC.LVTT) >> 4];
    if (offset === APIC.LVTT) writable |= this.timer.modeMask;
    this.setRegister(offset, (this.swEnabled ? value : value | LVT_MASKED) & writable);
    if (offset === APIC.LVTT) this.timer.updateMode();
  }

  /** kvm_x2apic_msr_read: the register's value, or undefined for #GP. */
  readX2apicMsr(offset: number): bigint | undefined {
    if (!this.x2apic || X2APIC_ABSENT.has(offset)) return undefined;
    const low = this.read(offset);
    if (low === undefined) return undefined;
    return offset === APIC.ICR ? BigInt(low) | (BigInt(this.register(APIC.ICR2)) << 32n) : BigInt(low);
  }

  /** kvm_x2apic_msr_write: true = refused. */
  writeX2apicMsr(offset: number, data: bigint): boolean {
    if (!this.x2apic || offset === APIC.ICR2) return true;
    // The upper half of every register but the ICR is reserved (SDM vol. 3, "Reserved Bit Checking"); 4.9 drops it.
    const high = Number(data >> 32n);
    if (offset === APIC.ICR) this.write(APIC.ICR2, high);
    else if (high !== 0) return true;
    return this.write(offset, Number(data & 0xffffffffn));
  }

  /** Is the guest physical address one of the page that the APIC answers at? */
  claims(address: number): boolean {
    return (
      this.hwEnabled && !this.x2apic && address >= this.baseAddress && address < this.baseAddress + APIC_PAGE_BYTES
    );
  }

  /** A read of the page by the guest: 1, 2 or 4 bytes within one register. */
  mmioRead(address: number, into: Uint8Array): void {
    const offset = address - this.baseAddress;
    const at = offset & 0xf;
    const value = at + into.length <= 4 ? (this.read(offset & ~0xf) ?? 0) : 0;
    for (let i = 0; i < into.length; i++) into[i] = at + i < 4 ? (value >>> (8 * (at + i))) & 0xff : 0;
  }

  /** A write: only aligned ones of 4 bytes reach a register. */
  mmioWrite(address: number, data: Uint8Array): void {
    const offset = address - this.baseAddress;
    if (data.length !== 4 || (offset & 0xf) !== 0) return;
    this.write(offset, (data[0] | (data[1] << 8) | (data[2] << 16) | (data[3] << 24)) >>> 0);
  }
}
