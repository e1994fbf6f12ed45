import type { HostSegmentValue } from "@tapvisor/kvm-core/contract";

const NULL_SEGMENT: HostSegmentValue = { selector: 0, base: 0n, limit: 0 };

/** Registers of the host that neither an entry saves nor an exit restores as they were. */
export class HostState {
  /** The guest's are loaded; the host's are here. */
  loaded = false;
  kernelGsBase = 0n;
  bndcfgs = 0n;
  ldtr = NULL_SEGMENT;
  fs = NULL_SEGMENT;
  gs = NULL_SEGMENT;
  ds = NULL_SEGMENT;
  es = NULL_SEGMENT;
  fsReloadNeeded = false;
  gsLdtReloadNeeded = false;
  // Fields as they are in the VMCS: they seldom change, and what is written has to be checked again at the next entry.
  vmcsHostCr4 = 0n;
  vmcsFsSelector = 0;
  vmcsGsSelector = 0;
  vmcsFsBase = 0n;
  vmcsGsBase = 0n;
}
