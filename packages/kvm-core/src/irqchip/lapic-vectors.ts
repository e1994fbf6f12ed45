import { APIC_BASE } from "@tapvisor/x86-isa";
import { REQUEST } from "../contract/index.js";
import { makeRequest } from "../requests.js";
import type { KvmVcpu } from "../vcpu.js";
import {
  APIC, APIC_PAGE_BYTES, DELIVERY, LVT_MASKED, MODE_MASK, SPIV_DIRECTED_EOI, SPIV_ENABLED,
} from "./lapic-registers.js"; // prettier-ignore

/** The registers of a local APIC, and what they say of vectors: requested, in service, and of which priority. */
export class LapicVectors {
  /** Host physical page of the registers: the virtual-APIC page of hardware that virtualizes it. */
  readonly page: number;
  readonly regs: Uint32Array;
  /** A hint: no IRR bit is set while it is false. */
  protected irrPending = false;
  protected highestIsr = -1;

  constructor(readonly vcpu: KvmVcpu) {
    const { memory } = vcpu.kvm.host;
    this.page = memory.allocatePage();
    const bytes = memory.view(this.page, APIC_PAGE_BYTES);
    this.regs = new Uint32Array(bytes.buffer, bytes.byteOffset, APIC_PAGE_BYTES / 4);
  }

  register(offset: number): number {
    return this.regs[offset >> 2];
  }

  protected setRegister(offset: number, value: number): void {
    this.regs[offset >> 2] = value;
  }

  get hwEnabled(): boolean {
    return (this.vcpu.arch.apicBase & APIC_BASE.ENABLE) !== 0n;
  }

  get swEnabled(): boolean {
    return (this.register(APIC.SPIV) & SPIV_ENABLED) !== 0;
  }

  get enabled(): boolean {
    return this.swEnabled && this.hwEnabled;
  }

  /** kvm_apic_accept_pic_intr: LINT0 is programmed for the PIC, or the APIC is out of the way. */
  get acceptsPicInterrupt(): boolean {
    const entry = this.register(APIC.LVT0);
    return !this.hwEnabled || ((entry & LVT_MASKED) === 0 && (entry & MODE_MASK) === DELIVERY.EXTINT);
  }

  get x2apic(): boolean {
    return (this.vcpu.arch.apicBase & APIC_BASE.X2APIC_ENABLE) !== 0n;
  }

  get id(): number {
    return this.x2apic ? this.register(APIC.ID) : this.register(APIC.ID) >>> 24;
  }

  // --- vectors and priorities

  protected highest(bitmap: number): number {
    for (let i = 7; i >= 0; i--) {
      const word = this.regs[(bitmap >> 2) + 4 * i];
      if (word !== 0) return 32 * i + 31 - Math.clz32(word);
    }
    return -1;
  }

  #test(bitmap: number, vector: number): boolean {
    return ((this.regs[(bitmap >> 2) + 4 * (vector >> 5)] >>> (vector & 31)) & 1) === 1;
  }

  protected setVector(bitmap: number, vector: number, on: boolean): void {
    const index = (bitmap >> 2) + 4 * (vector >> 5);
    if (on) this.regs[index] |= 1 << (vector & 31);
    else this.regs[index] &= ~(1 << (vector & 31));
  }

  /** Highest requested vector, or -1. */
  findHighestIrr(): number {
    if (this.vcpu.arch.apicvActive) this.vcpu.kvm.ops.sync_pir_to_irr(this.vcpu);
    else if (!this.irrPending) return -1;
    return this.highest(APIC.IRR);
  }

  protected findHighestIsr(): number {
    return this.vcpu.arch.apicvActive ? -1 : this.highestIsr;
  }

  /** SDM vol. 3, "Task and Processor Priorities". */
  protected updatePpr(): void {
    const old = this.register(APIC.PROCPRI);
    const tpr = this.register(APIC.TASKPRI) & 0xff;
    const isr = Math.max(this.findHighestIsr(), 0);
    const ppr = (tpr & 0xf0) >= (isr & 0xf0) ? tpr : isr & 0xf0;
    if (ppr === old) return;
    this.setRegister(APIC.PROCPRI, ppr);
    if (ppr < old) makeRequest(this.vcpu, REQUEST.EVENT);
  }

  protected setTpr(tpr: number): void {
    this.setRegister(APIC.TASKPRI, tpr);
    this.updatePpr();
  }

  /** CR8 is the class of the task priority. */
  setCr8(cr8: number): void {
    this.setTpr(((cr8 & 0xf) << 4) | (this.register(APIC.TASKPRI) & 4));
  }

  getCr8(): number {
    return (this.register(APIC.TASKPRI) & 0xf0) >> 4;
  }

  /** kvm_apic_has_interrupt: the vector that the processor would take now, or -1. */
  hasInterrupt(): number {
    if (!this.irrPending && !this.vcpu.arch.apicvActive) return -1;
    if (!this.enabled) return -1;
    this.updatePpr();
    const irr = this.findHighestIrr();
    return irr !== -1 && (irr & 0xf0) > (this.register(APIC.PROCPRI) & 0xf0) ? irr : -1;
  }

  /** kvm_get_apic_interrupt: from request to service. */
  acknowledgeInterrupt(): number {
    const vector = this.hasInterrupt();
    if (vector === -1) return -1;
    this.setVector(APIC.ISR, vector, true);
    if (this.vcpu.arch.apicvActive) this.vcpu.kvm.ops.hwapic_isr_update(this.vcpu, vector);
    else this.highestIsr = vector;
    this.updatePpr();
    this.setVector(APIC.IRR, vector, false);
    if (this.vcpu.arch.apicvActive) makeRequest(this.vcpu, REQUEST.EVENT);
    else this.irrPending = this.highest(APIC.IRR) !== -1;
    return vector;
  }

  /** End of interrupt: the highest vector in service is done. One that nothing is in service for is ignored. */
  setEoi(): void {
    const vector = this.findHighestIsr();
    if (vector === -1) return;
    this.setVector(APIC.ISR, vector, false);
    this.highestIsr = this.highest(APIC.ISR);
    this.updatePpr();
    this.#sendIoapicEoi(vector);
    makeRequest(this.vcpu, REQUEST.EVENT);
  }

  /** kvm_apic_set_eoi_accelerated: hardware has done the APIC's part. */
  setEoiAccelerated(vector: number): void {
    this.#sendIoapicEoi(vector);
    makeRequest(this.vcpu, REQUEST.EVENT);
  }

  #sendIoapicEoi(vector: number): void {
    if ((this.register(APIC.SPIV) & SPIV_DIRECTED_EOI) === 0) {
      this.vcpu.vm.ioapic?.endOfInterrupt(vector, this.#test(APIC.TMR, vector));
    }
  }
}
