/** What kernel and module parameters are in Linux. */
export interface HostOptions {
  /** kvm.ignore_msrs: unknown MSRs read as 0 and swallow writes instead of raising #GP. */
  readonly ignoreMsrs: boolean;
  /**
   * Emulate SYSCALL outside 64-bit mode for guests that see an Intel processor, too. Intel's raises #UD there (SDM
   * vol. 2, "SYSCALL"); with it, images built for either vendor run. Linux has no such parameter.
   */
  readonly foreignSyscall: boolean;
  /**
   * kvm.force_emulation_prefix: UD2 followed by the letters "kvm" has the instruction behind it emulated. Linux has it
   * from 4.17 on.
   */
  readonly forceEmulationPrefix: boolean;
  /** eagerfpu: the guest owns the FPU from the start, and #NM is never trapped for it. */
  readonly eagerFpu: boolean;
  /** kvm.halt_poll_ns; 0 turns polling off. */
  readonly haltPollNs: number;
  /** kvm_intel.flexpriority, .vpid, .ept, .unrestricted_guest, .enable_apicv, .ept_a_d, .pml, .preemption_timer, .nested */
  readonly flexpriority: boolean;
  readonly vpid: boolean;
  readonly ept: boolean;
  readonly unrestrictedGuest: boolean;
  readonly apicv: boolean;
  readonly eptAccessedDirty: boolean;
  readonly pml: boolean;
  readonly preemptionTimer: boolean;
  readonly nested: boolean;
  /** kvm_intel.ple_gap and .ple_window, in cycles. */
  readonly pleGap: number;
  readonly pleWindow: number;
}

/** The defaults of Linux 4.9 on 64 bits, but for halt polling, which virtual time has no use for. */
export const DEFAULT_HOST_OPTIONS: HostOptions = {
  ignoreMsrs: false,
  foreignSyscall: false,
  forceEmulationPrefix: false,
  eagerFpu: true,
  haltPollNs: 0,
  flexpriority: true,
  vpid: true,
  ept: true,
  unrestrictedGuest: true,
  apicv: true,
  eptAccessedDirty: true,
  pml: true,
  preemptionTimer: true,
  nested: false,
  pleGap: 128,
  pleWindow: 4096,
};
