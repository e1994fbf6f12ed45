import { REQUEST, type TimerHandle } from "../contract/index.js";
import { makeRequest } from "../requests.js";
import { readL1Tsc } from "../time/tsc.js";
import type { KvmVcpu } from "../vcpu.js";
import type { LapicDelivery } from "./lapic-delivery.js";
import { APIC, TIMER_MODE } from "./lapic-registers.js";

/** min_timer_period_us: a guest may not make the host's timers a load. */
const MIN_PERIOD_NS = 500_000;
const ALL_MODES = TIMER_MODE.PERIODIC | TIMER_MODE.TSC_DEADLINE;

/**
 * The timer of a local APIC. In one-shot and periodic mode it counts a bus clock of 1 GHz by a host timer; in
 * TSC-deadline mode it takes the backend's hardware timer where that serves, and a host timer otherwise.
 */
export class LapicTimer {
  readonly #handle: TimerHandle;
  /** What the host timer was armed for last, in ns. */
  #deadline = 0;
  /** Which bits of the LVT timer register select the mode: TSC-deadline only where CPUID shows it. */
  modeMask: number = TIMER_MODE.PERIODIC;
  mode = 0;
  /** Divisor of the bus clock, from the divide configuration register. */
  divideCount = 2;
  /** Initial count in ns, or 0 when stopped. */
  period = 0;
  /** IA32_TSC_DEADLINE, 0 when disarmed. */
  tscDeadline = 0n;
  /** Expired, and its interrupt not yet delivered. */
  pending = false;
  hvTimerInUse = false;

  constructor(
    readonly vcpu: KvmVcpu,
    readonly lapic: LapicDelivery,
  ) {
    this.#handle = vcpu.kvm.createTimer(`lapic timer of vcpu ${vcpu.vm.id}.${vcpu.id}`, () => this.#fire());
  }

  get isTscDeadline(): boolean {
    return (this.mode & ALL_MODES) === TIMER_MODE.TSC_DEADLINE;
  }

  get isPeriodic(): boolean {
    return (this.mode & ALL_MODES) === TIMER_MODE.PERIODIC;
  }

  /**
   * apic_update_lvtt: between one-shot and periodic mode the count goes on; to TSC-deadline mode or from it everything
   * is disarmed (SDM vol. 3, "TSC-Deadline Mode"). 4.9 stops the count in any case.
   */
  updateMode(): void {
    const mode = this.lapic.register(APIC.LVTT) & this.modeMask;
    if (mode === this.mode) return;
    const wasTscDeadline = this.isTscDeadline;
    this.mode = mode;
    if (this.isTscDeadline === wasTscDeadline) return;
    this.cancel();
    if (this.hvTimerInUse) this.#cancelHvTimer();
    this.lapic.clearInitialCount();
    this.period = 0;
    this.tscDeadline = 0n;
  }

  /** start_apic_timer. */
  start(): void {
    this.pending = false;
    if (this.isTscDeadline) {
      if (!this.#startHvTimer()) this.#startSwDeadline();
      return;
    }
    this.period = this.lapic.register(APIC.TMICT) * this.divideCount;
    if (this.period === 0) return;
    if (this.isPeriodic && this.period < MIN_PERIOD_NS) this.period = MIN_PERIOD_NS;
    this.#arm(this.vcpu.kvm.host.clock.now() + this.period);
  }

  /** Stop the host timer; a hardware timer that is armed stays so until it is restarted. */
  cancel(): void {
    this.#handle.cancel();
  }

  /** apic_get_tmcct: the current count. */
  currentCount(): number {
    if (this.isTscDeadline || this.lapic.register(APIC.TMICT) === 0 || this.period === 0) return 0;
    const { deadline } = this.#handle;
    if (deadline === undefined) return 0;
    const remaining = Math.max(0, deadline - this.vcpu.kvm.host.clock.now()) % this.period;
    return Math.floor(remaining / this.divideCount);
  }

  setTscDeadline(value: bigint): void {
    this.#handle.cancel();
    this.tscDeadline = value;
    this.start();
  }

  /** kvm_lapic_expired_hv_timer: the backend's timer made the guest exit. */
  hvTimerExpired(): void {
    this.#cancelHvTimer();
    this.#expire();
  }

  /** Before the vCPU blocks: the hardware timer only runs with the guest. */
  switchToSwTimer(): void {
    if (!this.hvTimerInUse) return;
    this.#cancelHvTimer();
    if (!this.pending) this.#startSwDeadline();
  }

  switchToHvTimer(): void {
    if (this.isTscDeadline) this.#startHvTimer();
  }

  /** The vCPU was loaded on another processor: arm that one's timer. */
  migrate(): void {
    if (this.hvTimerInUse && this.vcpu.kvm.ops.set_hv_timer?.(this.vcpu, this.tscDeadline) !== true) {
      this.switchToSwTimer();
    }
  }

  #startHvTimer(): boolean {
    const { ops } = this.vcpu.kvm;
    if (ops.set_hv_timer === undefined) return false;
    if (this.pending || this.tscDeadline === 0n || !ops.set_hv_timer(this.vcpu, this.tscDeadline)) {
      if (this.hvTimerInUse) this.#cancelHvTimer();
    } else {
      this.hvTimerInUse = true;
      this.#handle.cancel();
    }
    return this.hvTimerInUse;
  }

  #cancelHvTimer(): void {
    this.vcpu.kvm.ops.cancel_hv_timer?.(this.vcpu);
    this.hvTimerInUse = false;
  }

  #startSwDeadline(): void {
    if (this.tscDeadline === 0n) return;
    const now = this.vcpu.kvm.host.clock.now();
    const left = this.tscDeadline - readL1Tsc(this.vcpu);
    if (left <= 0n) {
      this.#expire();
      return;
    }
    // Rounded up: the interrupt may not come before the deadline.
    const khz = BigInt(this.vcpu.arch.virtualTscKhz);
    this.#arm(now + Number((left * 1_000_000n + khz - 1n) / khz));
  }

  #arm(deadlineNs: number): void {
    this.#deadline = deadlineNs;
    this.#handle.arm(deadlineNs);
  }

  #fire(): void {
    this.#expire();
    // From the old deadline on, so that a period does not drift.
    if (this.isPeriodic && this.period > 0) this.#arm(this.#deadline + this.period);
  }

  #expire(): void {
    if (this.pending) return;
    this.pending = true;
    makeRequest(this.vcpu, REQUEST.PENDING_TIMER);
  }
}
