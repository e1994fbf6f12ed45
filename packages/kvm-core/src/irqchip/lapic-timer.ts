import { REQUEST, type TimerHandle } from "../contract/index.js";
import { makeRequest } from "../requests.js";
import type { LapicTimerState } from "../state/lapic-state.js";
import type { Lapic } from "../state/vcpu-state.js";
import { readL1Tsc } from "../time/tsc.js";
import { APIC, TIMER_MODE } from "./lapic-registers.js";
import { register, setRegister } from "./lapic-vectors.js";

/** min_timer_period_us: a guest may not make the host's timers a load. */
const MIN_PERIOD_NS = 500_000;
const ALL_MODES = TIMER_MODE.PERIODIC | TIMER_MODE.TSC_DEADLINE;

/**
 * The timer of a local APIC. In one-shot and periodic mode it counts a bus clock of 1 GHz by a host timer; in
 * TSC-deadline mode it takes the backend's hardware timer where that serves, and a host timer otherwise.
 */
export function createLapicTimer(handle: TimerHandle): LapicTimerState {
  return {
    handle,
    deadline: 0,
    modeMask: TIMER_MODE.PERIODIC,
    mode: 0,
    divideCount: 2,
    period: 0,
    tscDeadline: 0n,
    pending: false,
    hvTimerInUse: false,
  };
}

/** apic_lvtt_tscdeadline. */
export function isTscDeadline({ mode }: LapicTimerState): boolean {
  return (mode & ALL_MODES) === TIMER_MODE.TSC_DEADLINE;
}

/** apic_lvtt_period. */
function isPeriodic({ mode }: LapicTimerState): boolean {
  return (mode & ALL_MODES) === TIMER_MODE.PERIODIC;
}

/**
 * apic_update_lvtt: between one-shot and periodic mode the count goes on; to TSC-deadline mode or from it everything
 * is disarmed (SDM vol. 3, "TSC-Deadline Mode"). 4.9 stops the count in any case.
 */
export function updateTimerMode(apic: Lapic): void {
  const { timer } = apic;
  const mode = register(apic, APIC.LVTT) & timer.modeMask;
  if (mode === timer.mode) return;
  const wasTscDeadline = isTscDeadline(timer);
  timer.mode = mode;
  if (isTscDeadline(timer) === wasTscDeadline) return;
  cancelTimer(apic);
  if (timer.hvTimerInUse) cancelHvTimer(apic);
  setRegister(apic, APIC.TMICT, 0);
  timer.period = 0;
  timer.tscDeadline = 0n;
}

/** update_divide_count. */
export function updateDivideCount(apic: Lapic): void {
  const tdcr = register(apic, APIC.TDCR);
  const shift = (((tdcr & 3) | ((tdcr & 8) >> 1)) + 1) & 7;
  apic.timer.divideCount = 1 << shift;
}

/** start_apic_timer. */
export function startTimer(apic: Lapic): void {
  const { timer, vcpu } = apic;
  timer.pending = false;
  if (isTscDeadline(timer)) {
    if (!startHvTimer(apic)) startSwDeadline(apic);
    return;
  }
  timer.period = register(apic, APIC.TMICT) * timer.divideCount;
  if (timer.period === 0) return;
  if (isPeriodic(timer) && timer.period < MIN_PERIOD_NS) timer.period = MIN_PERIOD_NS;
  arm(timer, vcpu.kvm.host.clock.now() + timer.period);
}

/** Stop the host timer; a hardware timer that is armed stays so until it is restarted. */
export function cancelTimer({ timer }: Lapic): void {
  timer.handle.cancel();
}

/** Stop the timer, whichever serves it, and forget what it counted. */
export function stopTimer(apic: Lapic): void {
  const { timer } = apic;
  cancelTimer(apic);
  if (timer.hvTimerInUse) cancelHvTimer(apic);
  timer.deadline = 0;
  timer.period = 0;
  timer.tscDeadline = 0n;
  timer.pending = false;
}

/** apic_get_tmcct: the current count. */
export function currentCount(apic: Lapic): number {
  const { timer, vcpu } = apic;
  if (isTscDeadline(timer) || register(apic, APIC.TMICT) === 0 || timer.period === 0) return 0;
  const { deadline } = timer.handle;
  if (deadline === undefined) return 0;
  const remaining = Math.max(0, deadline - vcpu.kvm.host.clock.now()) % timer.period;
  return Math.floor(remaining / timer.divideCount);
}

/** kvm_get_lapic_tscdeadline_msr. */
export function tscDeadlineOf({ timer }: Lapic): bigint {
  return isTscDeadline(timer) ? timer.tscDeadline : 0n;
}

/** kvm_set_lapic_tscdeadline_msr: in another mode the write is dropped. */
export function setTscDeadline(apic: Lapic, value: bigint): void {
  const { timer } = apic;
  if (!isTscDeadline(timer)) return;
  timer.handle.cancel();
  timer.tscDeadline = value;
  startTimer(apic);
}

/** kvm_lapic_expired_hv_timer: the backend's timer made the guest exit. */
export function hvTimerExpired(apic: Lapic): void {
  cancelHvTimer(apic);
  expire(apic);
}

/** kvm_lapic_switch_to_sw_timer: before the vCPU blocks, as the hardware timer only runs with the guest. */
export function switchToSwTimer(apic: Lapic): void {
  if (!apic.timer.hvTimerInUse) return;
  cancelHvTimer(apic);
  if (!apic.timer.pending) startSwDeadline(apic);
}

/** kvm_lapic_switch_to_hv_timer. */
export function switchToHvTimer(apic: Lapic): void {
  if (isTscDeadline(apic.timer)) startHvTimer(apic);
}

/** The vCPU was loaded on another processor: arm that one's timer. */
export function migrateTimer(apic: Lapic): void {
  const { timer, vcpu } = apic;
  if (timer.hvTimerInUse && vcpu.kvm.ops.set_hv_timer?.(vcpu, timer.tscDeadline) !== true) switchToSwTimer(apic);
}

function startHvTimer(apic: Lapic): boolean {
  const { timer, vcpu } = apic;
  const { ops } = vcpu.kvm;
  if (ops.set_hv_timer === undefined) return false;
  if (timer.pending || timer.tscDeadline === 0n || !ops.set_hv_timer(vcpu, timer.tscDeadline)) {
    if (timer.hvTimerInUse) cancelHvTimer(apic);
  } else {
    timer.hvTimerInUse = true;
    timer.handle.cancel();
  }
  return timer.hvTimerInUse;
}

function cancelHvTimer({ timer, vcpu }: Lapic): void {
  vcpu.kvm.ops.cancel_hv_timer?.(vcpu);
  timer.hvTimerInUse = false;
}

function startSwDeadline(apic: Lapic): void {
  const { timer, vcpu } = apic;
  if (timer.tscDeadline === 0n) return;
  const now = vcpu.kvm.host.clock.now();
  const left = timer.tscDeadline - readL1Tsc(vcpu);
  if (left <= 0n) {
    expire(apic);
    return;
  }
  // Rounded up: the interrupt may not come before the deadline.
  const khz = BigInt(vcpu.arch.virtualTscKhz);
  arm(timer, now + Number((left * 1_000_000n + khz - 1n) / khz));
}

function arm(timer: LapicTimerState, deadlineNs: number): void {
  timer.deadline = deadlineNs;
  timer.handle.arm(deadlineNs);
}

/** apic_timer_fn: the host timer fired. */
export function lapicTimerFired(apic: Lapic): void {
  const { timer } = apic;
  expire(apic);
  // From the old deadline on, so that a period does not drift.
  if (isPeriodic(timer) && timer.period > 0) arm(timer, timer.deadline + timer.period);
}

function expire({ timer, vcpu }: Lapic): void {
  if (timer.pending) return;
  timer.pending = true;
  makeRequest(vcpu, REQUEST.PENDING_TIMER);
}
