import { APIC_BASE } from "@tapvisor/x86-isa";
import { REQUEST } from "../contract/index.js";
import { makeRequest } from "../requests.js";
import type { Lapic } from "../state/vcpu-state.js";
import {
  APIC, DELIVERY, LVT_MASKED, MODE_MASK, SPIV_DIRECTED_EOI, SPIV_ENABLED, apicIsEnabledInHardware,
} from "./lapic-registers.js"; // prettier-ignore

/** What the registers of a local APIC say of vectors: requested, in service, and of which priority (lapic.c). */

/** kvm_lapic_get_reg: the register at an offset in the page. */
export function register({ regs }: Lapic, offset: number): number {
  return regs[offset >> 2] as number;
}

/** kvm_lapic_set_reg. */
export function setRegister({ regs }: Lapic, offset: number, value: number): void {
  regs[offset >> 2] = value;
}

/** kvm_apic_hw_enabled: by IA32_APIC_BASE. */
export function hwEnabled({ vcpu }: Lapic): boolean {
  return apicIsEnabledInHardware(vcpu.arch.apicBase);
}

/** kvm_apic_sw_enabled: by the spurious-interrupt vector register. */
export function swEnabled(apic: Lapic): boolean {
  return (register(apic, APIC.SPIV) & SPIV_ENABLED) !== 0;
}

/** apic_enabled: both ways. */
export function isEnabled(apic: Lapic): boolean {
  return swEnabled(apic) && hwEnabled(apic);
}

/** kvm_apic_accept_pic_intr: LINT0 is programmed for the PIC, or the APIC is out of the way. */
export function acceptsPicInterrupt(apic: Lapic): boolean {
  const entry = register(apic, APIC.LVT0);
  return !hwEnabled(apic) || ((entry & LVT_MASKED) === 0 && (entry & MODE_MASK) === DELIVERY.EXTINT);
}

/** apic_x2apic_mode. */
export function isX2apic({ vcpu }: Lapic): boolean {
  return (vcpu.arch.apicBase & APIC_BASE.X2APIC_ENABLE) !== 0n;
}

/** kvm_apic_id, kvm_x2apic_id. */
export function apicId(apic: Lapic): number {
  const id = register(apic, APIC.ID);
  return isX2apic(apic) ? id : id >>> 24;
}

// --- vectors and priorities

/** find_highest_vector: the highest bit of a bitmap of 256, or -1. */
export function highestVector({ regs }: Lapic, bitmap: number): number {
  for (let i = 7; i >= 0; i--) {
    const word = regs[(bitmap >> 2) + 4 * i] as number;
    if (word !== 0) return 32 * i + 31 - Math.clz32(word);
  }
  return -1;
}

function testVector({ regs }: Lapic, bitmap: number, vector: number): boolean {
  return (((regs[(bitmap >> 2) + 4 * (vector >> 5)] as number) >>> (vector & 31)) & 1) === 1;
}

export function setVector({ regs }: Lapic, bitmap: number, vector: number, on: boolean): void {
  const index = (bitmap >> 2) + 4 * (vector >> 5);
  const bit = 1 << (vector & 31);
  const word = regs[index] as number;
  regs[index] = on ? word | bit : word & ~bit;
}

/** apic_find_highest_irr: the highest requested vector, or -1. */
export function findHighestIrr(apic: Lapic): number {
  const { vcpu } = apic;
  if (vcpu.arch.apicvActive) vcpu.kvm.ops.sync_pir_to_irr(vcpu);
  else if (!apic.irrPending) return -1;
  return highestVector(apic, APIC.IRR);
}

/** apic_find_highest_isr. */
export function findHighestIsr({ vcpu, highestIsr }: Lapic): number {
  return vcpu.arch.apicvActive ? -1 : highestIsr;
}

/** SDM vol. 3, "Task and Processor Priorities". */
export function updatePpr(apic: Lapic): void {
  const old = register(apic, APIC.PROCPRI);
  const tpr = register(apic, APIC.TASKPRI) & 0xff;
  const isr = Math.max(findHighestIsr(apic), 0);
  const ppr = (tpr & 0xf0) >= (isr & 0xf0) ? tpr : isr & 0xf0;
  if (ppr === old) return;
  setRegister(apic, APIC.PROCPRI, ppr);
  if (ppr < old) makeRequest(apic.vcpu, REQUEST.EVENT);
}

export function setTpr(apic: Lapic, tpr: number): void {
  setRegister(apic, APIC.TASKPRI, tpr);
  updatePpr(apic);
}

/** kvm_lapic_set_tpr: CR8 is the class of the task priority. */
export function setLapicCr8(apic: Lapic, cr8: number): void {
  setTpr(apic, ((cr8 & 0xf) << 4) | (register(apic, APIC.TASKPRI) & 4));
}

/** kvm_lapic_get_cr8. */
export function lapicCr8(apic: Lapic): number {
  return (register(apic, APIC.TASKPRI) & 0xf0) >> 4;
}

/** kvm_apic_has_interrupt: the vector that the processor would take now, or -1. */
export function apicHasInterrupt(apic: Lapic): number {
  if (!apic.irrPending && !apic.vcpu.arch.apicvActive) return -1;
  if (!isEnabled(apic)) return -1;
  updatePpr(apic);
  const irr = findHighestIrr(apic);
  return irr !== -1 && (irr & 0xf0) > (register(apic, APIC.PROCPRI) & 0xf0) ? irr : -1;
}

/** kvm_get_apic_interrupt: from request to service. */
export function acknowledgeApicInterrupt(apic: Lapic): number {
  const { vcpu } = apic;
  const vector = apicHasInterrupt(apic);
  if (vector === -1) return -1;
  setVector(apic, APIC.ISR, vector, true);
  if (vcpu.arch.apicvActive) vcpu.kvm.ops.hwapic_isr_update(vcpu, vector);
  else apic.highestIsr = vector;
  updatePpr(apic);
  setVector(apic, APIC.IRR, vector, false);
  if (vcpu.arch.apicvActive) makeRequest(vcpu, REQUEST.EVENT);
  else apic.irrPending = highestVector(apic, APIC.IRR) !== -1;
  return vector;
}

/** apic_set_eoi: the highest vector in service is done. One that nothing is in service for is ignored. */
export function setEoi(apic: Lapic): void {
  const vector = findHighestIsr(apic);
  if (vector === -1) return;
  setVector(apic, APIC.ISR, vector, false);
  apic.highestIsr = highestVector(apic, APIC.ISR);
  updatePpr(apic);
  if ((register(apic, APIC.SPIV) & SPIV_DIRECTED_EOI) === 0) {
    apic.vcpu.vm.ioapic?.endOfInterrupt(vector, testVector(apic, APIC.TMR, vector));
  }
  makeRequest(apic.vcpu, REQUEST.EVENT);
}
