/** A VMCS and where it is active. */
export class LoadedVmcs {
  /** Processor that it is active on, or -1 when it is clear. */
  cpu = -1;
  /** VMLAUNCH succeeded since the last VMCLEAR: the next entry is a VMRESUME. */
  launched = false;

  /** @param address host physical address of the VMCS region */
  constructor(readonly address: number) {}
}
