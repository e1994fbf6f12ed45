import type { HostSegmentValue } from "@tapvisor/kvm-core/contract";
import type { LoadedVmcs } from "./loaded-vmcs.js";

/** What the module keeps for each processor: DEFINE_PER_CPU in Linux. */
export class PerCpu {
  /** Host physical address of the VMXON region, or -1 before `hardware_setup`. */
  vmxonRegion = -1;
  /** VMCSs that are active here: they must be cleared before VMXOFF, and before they move to another processor. */
  readonly loadedVmcss = new Set<LoadedVmcs>();
  /** The VMCS that VMREAD and VMWRITE address. */
  currentVmcs: LoadedVmcs | undefined;
  /** GDTR and TR as they were when VT-x was turned on: an exit loses their limits. */
  hostGdt: HostSegmentValue = { selector: 0, base: 0n, limit: 0 };
  hostTr: HostSegmentValue = { selector: 0, base: 0n, limit: 0 };
}
