/** What kernel and module parameters are in Linux; the processor carries them for whoever composes a host. */
export interface HostParameters {
  readonly ignoreMsrs: boolean;
  readonly foreignSyscall: boolean;
  readonly eagerFpu: boolean;
  readonly haltPollNs: number;
  readonly flexpriority: boolean;
  readonly vpid: boolean;
  readonly ept: boolean;
  readonly unrestrictedGuest: boolean;
  readonly apicv: boolean;
  readonly eptAccessedDirty: boolean;
  readonly pml: boolean;
  readonly preemptionTimer: boolean;
  readonly nested: boolean;
  readonly pleGap: number;
  readonly pleWindow: number;
}

/** The defaults of Linux 4.9 on 64 bits, but for halt polling, which virtual time has no use for. */
export const DEFAULT_HOST_PARAMETERS: HostParameters = {
  ignoreMsrs: false,
  foreignSyscall: false,
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
