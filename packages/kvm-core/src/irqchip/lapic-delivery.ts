import { APIC_BASE } from "@tapvisor/x86-isa";
import { KvmError, REQUEST } from "../contract/index.js";
import { updateCpuid } from "../cpuid/update.js";
import { injectNmi } from "../events/exceptions.js";
import { kick, makeRequest } from "../requests.js";
import type { KvmVcpu } from "../vcpu.js";
import { deliverToApics, requestIoapicScan } from "./delivery.js";
import {
  APIC, APIC_DEFAULT_BASE, APIC_PAGE_BYTES, APIC_VERSION, DELIVERY, DEST_LOGICAL, DFR_CLUSTER, DFR_FLAT, INT_ASSERT,
  INT_LEVELTRIG, LVT_COUNT, LVT_LEVEL_TRIGGER, LVT_MASKED, MODE_MASK, SHORTHAND, SHORTHAND_MASK, VECTOR_MASK,
  X2APIC_BROADCAST, XAPIC_BROADCAST,
} from "./lapic-registers.js"; // prettier-ignore
import { LapicTimer } from "./lapic-timer.js";
import { LapicVectors } from "./lapic-vectors.js";

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

/** A local APIC as its vCPU, other APICs and user space see it: reset, state, and interrupts that come and go. */
export class LapicDelivery extends LapicVectors {
  readonly timer: LapicTimer;
  baseAddress = APIC_DEFAULT_BASE;
  sipiVector = 0;
  /** Arbitration priority: who takes a lowest-priority interrupt next. */
  arbitrationPriority = 0;
  #pendingEvents = 0;

  constructor(vcpu: KvmVcpu) {
    super(vcpu);
    this.timer = new LapicTimer(vcpu, this);
  }

  free(): void {
    this.timer.cancel();
    this.vcpu.kvm.host.memory.freePages(this.page, 1);
  }

  /** The timer is in another mode, in which the count means nothing. */
  clearInitialCount(): void {
    this.setRegister(APIC.TMICT, 0);
  }

  /** kvm_lapic_reset: power-on, or INIT, which keeps the APIC's base and mode. */
  reset(initEvent: boolean): void {
    const { arch } = this.vcpu;
    this.timer.cancel();
    if (!initEvent) {
      const bsp = this.vcpu.isResetBootProcessor ? APIC_BASE.BSP : 0n;
      this.setBase(BigInt(APIC_DEFAULT_BASE) | APIC_BASE.ENABLE | bsp);
      this.setRegister(APIC.ID, this.vcpu.id << 24);
    }
    this.setRegister(APIC.LVR, APIC_VERSION);
    for (let i = 0; i < LVT_COUNT; i++) this.setRegister(APIC.LVTT + 0x10 * i, LVT_MASKED);
    this.timer.updateMode();
    // KVM's quirk LINT0_REENABLED: LINT0 lets the PIC through from the start.
    this.setRegister(APIC.LVT0, DELIVERY.EXTINT);
    this.setRegister(APIC.DFR, DFR_FLAT);
    this.setRegister(APIC.SPIV, 0xff);
    this.setRegister(APIC.TASKPRI, 0);
    if (!this.x2apic) this.setRegister(APIC.LDR, 0);
    for (const offset of [APIC.ESR, APIC.ICR, APIC.ICR2, APIC.TDCR, APIC.TMICT]) this.setRegister(offset, 0);
    for (let i = 0; i < 8; i++) {
      for (const bitmap of [APIC.IRR, APIC.ISR, APIC.TMR]) this.setRegister(bitmap + 0x10 * i, 0);
    }
    this.irrPending = arch.apicvActive;
    this.highestIsr = -1;
    this.updateDivideCount();
    this.timer.pending = false;
    this.updatePpr();
    this.arbitrationPriority = 0;
  }

  /** kvm_lapic_set_base: IA32_APIC_BASE, checked already. */
  setBase(value: bigint): void {
    const { arch } = this.vcpu;
    const changed = arch.apicBase ^ value;
    arch.apicBase = value;
    if ((changed & APIC_BASE.ENABLE) !== 0n && (value & APIC_BASE.ENABLE) !== 0n)
      this.setRegister(APIC.ID, this.vcpu.id << 24);
    if ((changed & APIC_BASE.X2APIC_ENABLE) !== 0n) {
      const on = (value & APIC_BASE.X2APIC_ENABLE) !== 0n;
      if (on) {
        const { id } = this.vcpu;
        this.setRegister(APIC.ID, id);
        this.setRegister(APIC.LDR, ((id >> 4) << 16) | (1 << (id & 0xf)));
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
    this.setRegister(APIC.LVR, APIC_VERSION);
    this.highestIsr = this.highest(APIC.ISR);
    this.updatePpr();
    this.timer.cancel();
    this.timer.updateMode();
    this.updateDivideCount();
    this.timer.start();
    this.irrPending = true;
    requestIoapicScan(this.vcpu.vm);
    if (arch.apicvActive) {
      kvm.ops.apicv_post_state_restore?.(this.vcpu);
      kvm.ops.hwapic_irr_update(this.vcpu, this.findHighestIrr());
      kvm.ops.hwapic_isr_update(this.vcpu, this.findHighestIsr());
    }
    makeRequest(this.vcpu, REQUEST.EVENT);
    this.arbitrationPriority = 0;
  }

  protected updateDivideCount(): void {
    const tdcr = this.register(APIC.TDCR);
    const shift = (((tdcr & 3) | ((tdcr & 8) >> 1)) + 1) & 7;
    this.timer.divideCount = 1 << shift;
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
        this.setVector(APIC.TMR, vector, levelTriggered);
        if (vcpu.arch.apicvActive) {
          vcpu.kvm.ops.deliver_posted_interrupt(vcpu, vector);
        } else {
          this.setVector(APIC.IRR, vector, true);
          this.irrPending = true;
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
  matches(message: ApicMessage, source: LapicDelivery | undefined): boolean {
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

  protected sendIpi(): void {
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
}
