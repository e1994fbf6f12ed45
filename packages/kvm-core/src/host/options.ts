/** What kernel and module parameters are in Linux: those that have an effect here. */
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
  /** kvm_intel.vpid, .ept, .unrestricted_guest, .ept_a_d, .preemption_timer */
  readonly vpid: boolean;
  readonly ept: boolean;
  readonly unrestrictedGuest: boolean;
  readonly eptAccessedDirty: boolean;
  readonly preemptionTimer: boolean;
  /** kvm_intel.ple_gap and .ple_window, in cycles. */
  readonly pleGap: number;
  readonly pleWindow: number;
}

/** The defaults of Linux 4.9 on 64 bits. */
export const DEFAULT_HOST_OPTIONS: HostOptions = {
  ignoreMsrs: false,
  foreignSyscall: false,
  forceEmulationPrefix: false,
  eagerFpu: true,
  vpid: true,
  ept: true,
  unrestrictedGuest: true,
  eptAccessedDirty: true,
  preemptionTimer: true,
  pleGap: 128,
  pleWindow: 4096,
};
