import { APIC_BASE } from "@tapvisor/x86-isa";
import { KvmError, REQUEST } from "../contract/index.js";
import { updateCpuid } from "../cpuid/update.js";
import { injectNmi } from "../events/exceptions.js";
import { kick, makeRequest } from "../requests.js";
import type { KvmVcpu } from "../vcpu.js";
import { deliverToApics, requestIoapicScan } from "./delivery.js";
import {
  APIC, APIC_DEFAULT_BASE, APIC_PAGE_BYTES, APIC_VERSION, DELIVERY, DEST_LOGICAL, DFR_CLUSTER, DFR_FLAT, ICR_BUSY,
  INT_ASSERT, INT_LEVELTRIG, LVR_DIRECTED_EOI, LVT_COUNT, LVT_LEVEL_TRIGGER, LVT_MASKED, LVT_WRITABLE, MODE_MASK,
  SHORTHAND, SHORTHAND_MASK, SPIV_DIRECTED_EOI, SPIV_ENABLED, VECTOR_MASK, X2APIC_BROADCAST, XAPIC_BROADCAST,
  isReadable,
} from "./lapic-registers.js"; // prettier-ignore
import { LapicTimer } from "./lapic-timer.js";

/** Registers of an xAPIC that an x2APIC has not got (SDM vol. 3, "Local APIC Register Address Map Supported by x2APIC"). */
const X2APIC_ABSENT: ReadonlySet<number> = new Set([APIC.ARBPRI, APIC.DFR, APIC.ICR2]);

/** Events that wait for the vCPU: KVM_APIC_INIT, KVM_APIC_SIPI. */
const PENDING_INIT = 1;
const PENDING_SIPI = 2;

/** One interrupt message: struct kvm_lapic_irq. `deliveryMode` and `shorthand` as in the ICR. */
export interface ApicMessage {
  readonly vector: number;
  readonly deliveryMode: number;
  readonly logical: boolean;
  readonly level: boolean;
  readonly levelTriggered: boolean;
  readonly shorthand: number;
  readonly destination: number;
}

/** A local APIC (SDM vol. 3, "Advanced Programmable Interrupt Controller (APIC)"). */
export class Lapic {
  /** Host physical page of the registers: the virtual-APIC page of hardware that virtualizes it. */
  readonly page: number;
  readonly regs: Uint32Array;
  readonly timer: LapicTimer;
  baseAddress = APIC_DEFAULT_BASE;
  sipiVector = 0;
  /** Arbitration priority: who takes a lowest-priority interrupt next. */
  arbitrationPriority = 0;
  #pendingEvents = 0;
  /** A hint: no IRR bit is set while it is false. */
  #irrPending = false;
  #highestIsr = -1;

  constructor(readonly vcpu: KvmVcpu) {
    const { memory } = vcpu.kvm.host;
    this.page = memory.allocatePage();
    const bytes = memory.view(this.page, APIC_PAGE_BYTES);
    this.regs = new Uint32Array(bytes.buffer, bytes.byteOffset, APIC_PAGE_BYTES / 4);
    this.timer = new LapicTimer(vcpu, this);
  }

  free(): void {
    this.timer.cancel();
    this.vcpu.kvm.host.memory.freePages(this.page, 1);
  }

  register(offset: number): number {
    return this.regs[offset >> 2];
  }

  #set(offset: number, value: number): void {
    this.regs[offset >> 2] = value;
  }

  /** The timer is in another mode, in which the count means nothing. */
  clearInitialCount(): void {
    this.#set(APIC.TMICT, 0);
  }

  // --- state

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

  /** kvm_lapic_reset: power-on, or INIT, which keeps the APIC's base and mode. */
  reset(initEvent: boolean): void {
    const { arch } = this.vcpu;
    this.timer.cancel();
    if (!initEvent) {
      const bsp = this.vcpu.isResetBootProcessor ? APIC_BASE.BSP : 0n;
      this.setBase(BigInt(APIC_DEFAULT_BASE) | APIC_BASE.ENABLE | bsp);
      this.#set(APIC.ID, this.vcpu.id << 24);
    }
    this.#set(APIC.LVR, APIC_VERSION);
    for (let i = 0; i < LVT_COUNT; i++) this.#set(APIC.LVTT + 0x10 * i, LVT_MASKED);
    this.timer.updateMode();
    // KVM's quirk LINT0_REENABLED: LINT0 lets the PIC through from the start.
    this.#set(APIC.LVT0, DELIVERY.EXTINT);
    this.#set(APIC.DFR, DFR_FLAT);
    this.#set(APIC.SPIV, 0xff);
    this.#set(APIC.TASKPRI, 0);
    if (!this.x2apic) this.#set(APIC.LDR, 0);
    for (const offset of [APIC.ESR, APIC.ICR, APIC.ICR2, APIC.TDCR, APIC.TMICT]) this.#set(offset, 0);
    for (let i = 0; i < 8; i++) {
      for (const bitmap of [APIC.IRR, APIC.ISR, APIC.TMR]) this.#set(bitmap + 0x10 * i, 0);
    }
    this.#irrPending = arch.apicvActive;
    this.#highestIsr = -1;
    this.#updateDivideCount();
    this.timer.pending = false;
    this.#updatePpr();
    this.arbitrationPriority = 0;
  }

  /** kvm_lapic_set_base: IA32_APIC_BASE, checked already. */
  setBase(value: bigint): void {
    const { arch } = this.vcpu;
    const changed = arch.apicBase ^ value;
    arch.apicBase = value;
    if ((changed & APIC_BASE.ENABLE) !== 0n && (value & APIC_BASE.ENABLE) !== 0n)
      this.#set(APIC.ID, this.vcpu.id << 24);
    if ((changed & APIC_BASE.X2APIC_ENABLE) !== 0n) {
      const on = (value & APIC_BASE.X2APIC_ENABLE) !== 0n;
      if (on) {
        const { id } = this.vcpu;
        this.#set(APIC.ID, id);
        this.#set(APIC.LDR, ((id >> 4) << 16) | (1 << (id & 0xf)));
      }
      this.vcpu.kvm.ops.set_virtual_x2apic_mode(this.vcpu, on);
    }
    // IA32_APIC_BASE[51:12].
    this.baseAddress = Number(value & 0x000fffff_fffff000n);
    if (changed === 0n) return;
    requestIoapicScan(this.vcpu.vm);
    if ((changed & APIC_BASE.ENABLE) !== 0n) updateCpuid(this.vcpu);
  }

  /** KVM_GET_LAPIC: a copy of the registers. The ID is in xAPIC format whatever the mode. */
  getState(): Uint8Array {
    const state = this.regs.slice();
    if (this.x2apic) state[APIC.ID >> 2] <<= 24;
    state[APIC.TMCCT >> 2] = this.timer.currentCount();
    return new Uint8Array(state.buffer);
  }

  /** KVM_SET_LAPIC. IA32_APIC_BASE has to be set before. */
  setState(registers: Uint8Array): void {
    if (registers.length !== 0x400 && registers.length !== APIC_PAGE_BYTES) {
      throw new KvmError(
        "EINVAL",
        "KVM_SET_LAPIC",
        `${registers.length} bytes: expected 1024 (or the whole page, 4096)`,
      );
    }
    const { arch, kvm } = this.vcpu;
    const words = new Uint32Array(registers.slice().buffer);
    if (this.x2apic) words[APIC.ID >> 2] >>>= 24;
    this.regs.set(words);
    this.#set(APIC.LVR, APIC_VERSION);
    this.#highestIsr = this.#highest(APIC.ISR);
    this.#updatePpr();
    this.timer.cancel();
    this.timer.updateMode();
    this.#updateDivideCount();
    this.timer.start();
    this.#irrPending = true;
    requestIoapicScan(this.vcpu.vm);
    if (arch.apicvActive) {
      kvm.ops.apicv_post_state_restore?.(this.vcpu);
      kvm.ops.hwapic_irr_update(this.vcpu, this.findHighestIrr());
      kvm.ops.hwapic_isr_update(this.vcpu, this.#findHighestIsr());
    }
    makeRequest(this.vcpu, REQUEST.EVENT);
    this.arbitrationPriority = 0;
  }

  // --- vectors and priorities

  #highest(bitmap: number): number {
    for (let i = 7; i >= 0; i--) {
      const word = this.regs[(bitmap >> 2) + 4 * i];
      if (word !== 0) return 32 * i + 31 - Math.clz32(word);
    }
    return -1;
  }

  #test(bitmap: number, vector: number): boolean {
    return ((this.regs[(bitmap >> 2) + 4 * (vector >> 5)] >>> (vector & 31)) & 1) === 1;
  }

  #setVector(bitmap: number, vector: number, on: boolean): void {
    const index = (bitmap >> 2) + 4 * (vector >> 5);
    if (on) this.regs[index] |= 1 << (vector & 31);
    else this.regs[index] &= ~(1 << (vector & 31));
  }

  /** Highest requested vector, or -1. */
  findHighestIrr(): number {
    if (this.vcpu.arch.apicvActive) this.vcpu.kvm.ops.sync_pir_to_irr(this.vcpu);
    else if (!this.#irrPending) return -1;
    return this.#highest(APIC.IRR);
  }

  #findHighestIsr(): number {
    return this.vcpu.arch.apicvActive ? -1 : this.#highestIsr;
  }

  /** SDM vol. 3, "Task and Processor Priorities". */
  #updatePpr(): void {
    const old = this.register(APIC.PROCPRI);
    const tpr = this.register(APIC.TASKPRI) & 0xff;
    const isr = Math.max(this.#findHighestIsr(), 0);
    const ppr = (tpr & 0xf0) >= (isr & 0xf0) ? tpr : isr & 0xf0;
    if (ppr === old) return;
    this.#set(APIC.PROCPRI, ppr);
    if (ppr < old) makeRequest(this.vcpu, REQUEST.EVENT);
  }

  #setTpr(tpr: number): void {
    this.#set(APIC.TASKPRI, tpr);
    this.#updatePpr();
  }

  /** CR8 is the class of the task priority. */
  setCr8(cr8: number): void {
    this.#setTpr(((cr8 & 0xf) << 4) | (this.register(APIC.TASKPRI) & 4));
  }

  getCr8(): number {
    return (this.register(APIC.TASKPRI) & 0xf0) >> 4;
  }

  /** kvm_apic_has_interrupt: the vector that the processor would take now, or -1. */
  hasInterrupt(): number {
    if (!this.#irrPending && !this.vcpu.arch.apicvActive) return -1;
    if (!this.enabled) return -1;
    this.#updatePpr();
    const irr = this.findHighestIrr();
    return irr !== -1 && (irr & 0xf0) > (this.register(APIC.PROCPRI) & 0xf0) ? irr : -1;
  }

  /** kvm_get_apic_interrupt: from request to service. */
  acknowledgeInterrupt(): number {
    const vector = this.hasInterrupt();
    if (vector === -1) return -1;
    this.#setVector(APIC.ISR, vector, true);
    if (this.vcpu.arch.apicvActive) this.vcpu.kvm.ops.hwapic_isr_update(this.vcpu, vector);
    else this.#highestIsr = vector;
    this.#updatePpr();
    this.#setVector(APIC.IRR, vector, false);
    if (this.vcpu.arch.apicvActive) makeRequest(this.vcpu, REQUEST.EVENT);
    else this.#irrPending = this.#highest(APIC.IRR) !== -1;
    return vector;
  }

  /** End of interrupt: the highest vector in service is done. One that nothing is in service for is ignored. */
  setEoi(): void {
    const vector = this.#findHighestIsr();
    if (vector === -1) return;
    this.#setVector(APIC.ISR, vector, false);
    this.#highestIsr = this.#highest(APIC.ISR);
    this.#updatePpr();
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

  // --- delivery

  /** __apic_accept_irq: true when the APIC took it. */
  accept(deliveryMode: number, vector: number, level: boolean, levelTriggered: boolean): boolean {
    const { vcpu } = this;
    switch (deliveryMode) {
      case DELIVERY.LOWEST:
      case DELIVERY.FIXED:
        if (deliveryMode === DELIVERY.LOWEST) this.arbitrationPriority += 1;
        if ((levelTriggered && !level) || !this.enabled) return false;
        this.#setVector(APIC.TMR, vector, levelTriggered);
        if (vcpu.arch.apicvActive) {
          vcpu.kvm.ops.deliver_posted_interrupt(vcpu, vector);
        } else {
          this.#setVector(APIC.IRR, vector, true);
          this.#irrPending = true;
          makeRequest(vcpu, REQUEST.EVENT);
          kick(vcpu);
        }
        return true;
      case DELIVERY.NMI:
        injectNmi(vcpu);
        kick(vcpu);
        return true;
      case DELIVERY.INIT:
        if (levelTriggered && !level) return false;
        this.#pendingEvents = PENDING_INIT;
        makeRequest(vcpu, REQUEST.EVENT);
        kick(vcpu);
        return true;
      case DELIVERY.STARTUP:
        this.sipiVector = vector;
        this.#pendingEvents |= PENDING_SIPI;
        makeRequest(vcpu, REQUEST.EVENT);
        kick(vcpu);
        return true;
      default:
        // ExtINT is the PIC's, which answers for itself; SMI and remote read are not delivered.
        return false;
    }
  }

  get hasPendingEvents(): boolean {
    return this.#pendingEvents !== 0;
  }

  /** kvm_apic_accept_events: INIT and SIPI (SDM vol. 3, "Multiple-Processor Management"). */
  acceptEvents(): void {
    const { vcpu } = this;
    const events = this.#pendingEvents;
    if (events === 0) return;
    this.#pendingEvents = 0;
    if ((events & PENDING_INIT) !== 0) {
      this.reset(true);
      vcpu.reset(true);
      const bsp = (vcpu.arch.apicBase & APIC_BASE.BSP) !== 0n;
      vcpu.arch.mpState = bsp ? "runnable" : "init_received";
    }
    if ((events & PENDING_SIPI) !== 0 && vcpu.arch.mpState === "init_received") {
      vcpu.deliverSipi(this.sipiVector);
      vcpu.arch.mpState = "runnable";
    }
  }

  /** KVM_SET_MP_STATE with SIPI_RECEIVED. */
  setSipiPending(): void {
    this.#pendingEvents |= PENDING_SIPI;
  }

  /** kvm_apic_match_dest: is the message for this APIC? `source` is undefined for what is not an IPI. */
  matches(message: ApicMessage, source: Lapic | undefined): boolean {
    switch (message.shorthand) {
      case SHORTHAND.SELF:
        return this === source;
      case SHORTHAND.ALL:
        return true;
      case SHORTHAND.OTHERS:
        return this !== source;
      default:
        break;
    }
    // What is not an IPI addresses a broadcast as an xAPIC does, whatever the mode of the target.
    const x2apicFormat = (source ?? this).x2apic;
    const broadcast = source !== undefined && x2apicFormat ? X2APIC_BROADCAST : XAPIC_BROADCAST;
    if (message.destination === broadcast) return true;
    return message.logical ? this.#matchesLogical(message.destination) : message.destination === this.id;
  }

  #matchesLogical(destination: number): boolean {
    const ldr = this.register(APIC.LDR);
    if (this.x2apic) return ldr >>> 16 === destination >>> 16 && (ldr & destination & 0xffff) !== 0;
    const logicalId = ldr >>> 24;
    switch (this.register(APIC.DFR)) {
      case DFR_FLAT:
        return (logicalId & destination) !== 0;
      case DFR_CLUSTER:
        return logicalId >> 4 === destination >> 4 && (logicalId & destination & 0xf) !== 0;
      default:
        return false;
    }
  }

  #sendIpi(): void {
    const low = this.register(APIC.ICR);
    const high = this.register(APIC.ICR2);
    deliverToApics(this.vcpu.vm, this, {
      vector: low & VECTOR_MASK,
      deliveryMode: low & MODE_MASK,
      logical: (low & DEST_LOGICAL) !== 0,
      level: (low & INT_ASSERT) !== 0,
      levelTriggered: (low & INT_LEVELTRIG) !== 0,
      shorthand: low & SHORTHAND_MASK,
      destination: this.x2apic ? high : high >>> 24,
    });
  }

  /** kvm_apic_local_deliver: one entry of the local vector table has its event. */
  deliverLocal(offset: number): boolean {
    const entry = this.register(offset);
    if (!this.hwEnabled || (entry & LVT_MASKED) !== 0) return false;
    return this.accept(entry & MODE_MASK, entry & VECTOR_MASK, true, (entry & LVT_LEVEL_TRIGGER) !== 0);
  }

  /** apic_has_pending_timer. */
  get hasPendingTimer(): boolean {
    return this.timer.pending && this.enabled && (this.register(APIC.LVTT) & LVT_MASKED) === 0;
  }

  /** kvm_inject_apic_timer_irqs. */
  injectTimer(): void {
    if (!this.timer.pending) return;
    this.deliverLocal(APIC.LVTT);
    if (this.timer.isTscDeadline) this.timer.tscDeadline = 0n;
    this.timer.pending = false;
  }

  // --- registers

  #updateDivideCount(): void {
    const tdcr = this.register(APIC.TDCR);
    const shift = (((tdcr & 3) | ((tdcr & 8) >> 1)) + 1) & 7;
    this.timer.divideCount = 1 << shift;
  }

  /** kvm_lapic_reg_read of a register at a multiple of 16, or undefined where there is none. */
  read(offset: number): number | undefined {
    if (!isReadable(offset)) return undefined;
    switch (offset) {
      case APIC.ARBPRI:
        return 0;
      case APIC.TMCCT:
        return this.timer.currentCount();
      case APIC.PROCPRI:
        this.#updatePpr();
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
        this.#set(APIC.ID, value & 0xff000000);
        requestIoapicScan(this.vcpu.vm);
        return false;
      case APIC.TASKPRI:
        this.#setTpr(value & 0xff);
        return false;
      case APIC.EOI:
        this.setEoi();
        return false;
      case APIC.LDR:
        if (this.x2apic) return true;
        this.#set(APIC.LDR, value & 0xff000000);
        return false;
      case APIC.DFR:
        if (this.x2apic) return true;
        this.#set(APIC.DFR, value | 0x0fffffff);
        return false;
      case APIC.SPIV:
        this.#writeSpurious(value);
        return false;
      case APIC.ICR:
        this.#set(APIC.ICR, value & ~ICR_BUSY);
        this.#sendIpi();
        return false;
      case APIC.ICR2:
        this.#set(APIC.ICR2, this.x2apic ? value : value & 0xff000000);
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
        this.#set(APIC.TMICT, value);
        this.timer.start();
        return false;
      case APIC.TDCR:
        this.#set(APIC.TDCR, value & 0xb);
        this.#updateDivideCount();
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
    this.#set(APIC.SPIV, value & (0x3ff | directed));
    if ((value & SPIV_ENABLED) !== 0) return;
    for (let i = 0; i < LVT_COUNT; i++) {
      const entry = APIC.LVTT + 0x10 * i;
      this.#set(entry, this.register(entry) | LVT_MASKED);
    }
    this.timer.updateMode();
    this.timer.pending = false;
  }

  #writeLvt(offset: number, value: number): void {
    let writable = LVT_WRITABLE[(offset - APIC.LVTT) >> 4];
    if (offset === APIC.LVTT) writable |= this.timer.modeMask;
    this.#set(offset, (this.swEnabled ? value : value | LVT_MASKED) & writable);
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
