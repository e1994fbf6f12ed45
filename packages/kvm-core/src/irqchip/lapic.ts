import {
  APIC, APIC_PAGE_BYTES, ICR_BUSY, LVR_DIRECTED_EOI, LVT_COUNT, LVT_MASKED, LVT_WRITABLE, SHORTHAND, SPIV_DIRECTED_EOI,
  SPIV_ENABLED, VECTOR_MASK, isReadable,
} from "./lapic-registers.js"; // prettier-ignore
import type { Lapic } from "../state/vcpu-state.js";
import { requestIoapicScan } from "./ioapic-scan.js";
import { sendIpi } from "./lapic-delivery.js";
import {
  cancelTimer, currentCount, isTscDeadline, startTimer, updateDivideCount, updateTimerMode,
} from "./lapic-timer.js"; // prettier-ignore
import { hwEnabled, isX2apic, register, setEoi, setRegister, setTpr, swEnabled, updatePpr } from "./lapic-vectors.js";

/**
 * A local APIC (SDM vol. 3, "Advanced Programmable Interrupt Controller (APIC)"): what the guest reads and writes of it,
 * in its page and by MSRs.
 */

/** Registers of an xAPIC that an x2APIC has not got (SDM vol. 3, "Local APIC Register Address Map Supported by x2APIC"). */
const X2APIC_ABSENT: ReadonlySet<number> = new Set([APIC.ARBPRI, APIC.DFR, APIC.ICR2]);

/** kvm_lapic_reg_read of a register at a multiple of 16, or undefined where there is none. */
export function readLapic(apic: Lapic, offset: number): number | undefined {
  if (!isReadable(offset)) return undefined;
  switch (offset) {
    case APIC.ARBPRI:
      return 0;
    case APIC.TMCCT:
      return currentCount(apic);
    case APIC.PROCPRI:
      updatePpr(apic);
      return register(apic, offset);
    default:
      return register(apic, offset);
  }
}

/** kvm_lapic_reg_write: true = no such register, or read-only; an x2APIC answers with #GP then. */
export function writeLapic(apic: Lapic, offset: number, value: number): boolean {
  switch (offset) {
    case APIC.ID:
      if (isX2apic(apic)) return true;
      setRegister(apic, APIC.ID, value & 0xff000000);
      requestIoapicScan(apic.vcpu.vm);
      return false;
    case APIC.TASKPRI:
      setTpr(apic, value & 0xff);
      return false;
    case APIC.EOI:
      setEoi(apic);
      return false;
    case APIC.LDR:
      if (isX2apic(apic)) return true;
      setRegister(apic, APIC.LDR, value & 0xff000000);
      return false;
    case APIC.DFR:
      if (isX2apic(apic)) return true;
      setRegister(apic, APIC.DFR, value | 0x0fffffff);
      return false;
    case APIC.SPIV:
      writeSpurious(apic, value);
      return false;
    case APIC.ICR:
      setRegister(apic, APIC.ICR, value & ~ICR_BUSY);
      sendIpi(apic);
      return false;
    case APIC.ICR2:
      setRegister(apic, APIC.ICR2, isX2apic(apic) ? value : value & 0xff000000);
      return false;
    case APIC.LVTT:
    case APIC.LVTTHMR:
    case APIC.LVTPC:
    case APIC.LVT0:
    case APIC.LVT1:
    case APIC.LVTERR:
      writeLvt(apic, offset, value);
      return false;
    case APIC.TMICT:
      if (isTscDeadline(apic.timer)) return false;
      cancelTimer(apic);
      setRegister(apic, APIC.TMICT, value);
      startTimer(apic);
      return false;
    case APIC.TDCR:
      setRegister(apic, APIC.TDCR, value & 0xb);
      updateDivideCount(apic);
      return false;
    case APIC.ESR:
      return isX2apic(apic) && value !== 0;
    case APIC.SELF_IPI:
      if (!isX2apic(apic) || value > VECTOR_MASK) return true;
      return writeLapic(apic, APIC.ICR, SHORTHAND.SELF | (value & VECTOR_MASK));
    default:
      return true;
  }
}

function writeSpurious(apic: Lapic, value: number): void {
  const directed = (register(apic, APIC.LVR) & LVR_DIRECTED_EOI) !== 0 ? SPIV_DIRECTED_EOI : 0;
  setRegister(apic, APIC.SPIV, value & (0x3ff | directed));
  if ((value & SPIV_ENABLED) !== 0) return;
  for (let i = 0; i < LVT_COUNT; i++) {
    const entry = APIC.LVTT + 0x10 * i;
    setRegister(apic, entry, register(apic, entry) | LVT_MASKED);
  }
  updateTimerMode(apic);
  apic.timer.pending = false;
}

function writeLvt(apic: Lapic, offset: number, value: number): void {
  let writable = LVT_WRITABLE[(offset - APIC.LVTT) >> 4] ?? 0;
  if (offset === APIC.LVTT) writable |= apic.timer.modeMask;
  setRegister(apic, offset, (swEnabled(apic) ? value : value | LVT_MASKED) & writable);
  if (offset === APIC.LVTT) updateTimerMode(apic);
}

/** kvm_x2apic_msr_read: the register's value, or undefined for #GP. */
export function readX2apicMsr(apic: Lapic, offset: number): bigint | undefined {
  if (!isX2apic(apic) || X2APIC_ABSENT.has(offset)) return undefined;
  const low = readLapic(apic, offset);
  if (low === undefined) return undefined;
  return offset === APIC.ICR ? BigInt(low) | (BigInt(register(apic, APIC.ICR2)) << 32n) : BigInt(low);
}

/** kvm_x2apic_msr_write: true = refused. */
export function writeX2apicMsr(apic: Lapic, offset: number, data: bigint): boolean {
  if (!isX2apic(apic) || offset === APIC.ICR2) return true;
  // The upper half of every register but the ICR is reserved (SDM vol. 3, "Reserved Bit Checking"); 4.9 drops it.
  const high = Number(data >> 32n);
  if (offset === APIC.ICR) writeLapic(apic, APIC.ICR2, high);
  else if (high !== 0) return true;
  return writeLapic(apic, offset, Number(data & 0xffffffffn));
}

/** Is the guest physical address one of the page that the APIC answers at? */
export function claimsAddress(apic: Lapic, address: number): boolean {
  return (
    hwEnabled(apic) && !isX2apic(apic) && address >= apic.baseAddress && address < apic.baseAddress + APIC_PAGE_BYTES
  );
}

/** A read of the page by the guest: 1, 2 or 4 bytes within one register. */
export function readLapicPage(apic: Lapic, address: number, into: Uint8Array): void {
  const offset = address - apic.baseAddress;
  const at = offset & 0xf;
  const value = at + into.length <= 4 ? (readLapic(apic, offset & ~0xf) ?? 0) : 0;
  for (let i = 0; i < into.length; i++) into[i] = at + i < 4 ? (value >>> (8 * (at + i))) & 0xff : 0;
}

/** A write: only aligned ones of 4 bytes reach a register. */
export function writeLapicPage(apic: Lapic, address: number, data: Uint8Array): void {
  const offset = address - apic.baseAddress;
  if (data.length !== 4 || (offset & 0xf) !== 0) return;
  writeLapic(apic, offset, new DataView(data.buffer, data.byteOffset, 4).getUint32(0, true));
}
