import type { TimerHandle } from "../contract/index.js";

/** struct kvm_timer: the timer of a local APIC. */
export interface LapicTimerState {
  /** The host timer behind it. */
  readonly handle: TimerHandle;
  /** What the host timer was armed for last, in ns. */
  deadline: number;
  /** Which bits of the LVT timer register select the mode: TSC-deadline only where CPUID shows it. */
  modeMask: number;
  mode: number;
  /** Divisor of the bus clock, from the divide configuration register. */
  divideCount: number;
  /** Initial count in ns, or 0 when stopped. */
  period: number;
  /** IA32_TSC_DEADLINE, 0 when disarmed. */
  tscDeadline: bigint;
  /** Expired, and its interrupt not yet delivered. */
  pending: boolean;
  /** The backend's hardware timer serves it. */
  hvTimerInUse: boolean;
}

/** struct kvm_lapic, without its vCPU. */
export interface LapicFields {
  /** Host physical page of the registers: the virtual-APIC page of hardware that virtualizes it. */
  readonly page: number;
  readonly regs: Uint32Array;
  readonly timer: LapicTimerState;
  /** Guest physical address of the page, from IA32_APIC_BASE. */
  baseAddress: number;
  /** A hint: no IRR bit is set while it is false. */
  irrPending: boolean;
  /** Highest vector in service, or -1. */
  highestIsr: number;
  /** INIT and SIPI that wait for the vCPU, a bit each: KVM_APIC_INIT, KVM_APIC_SIPI. */
  pendingEvents: number;
  sipiVector: number;
  /** Arbitration priority: who takes a lowest-priority interrupt next. */
  arbitrationPriority: number;
}
