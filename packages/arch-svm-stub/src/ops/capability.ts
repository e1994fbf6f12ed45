import type { CpuidEntry } from "@tapvisor/kvm-core/contract";
import type { KvmAmd } from "../kvm-amd.js";

const SVM_LEAF = 0x8000000a;
/** ASIDs that are offered to a guest's hypervisor. */
const GUEST_ASIDS = 8;
const SVM_NRIPS = 1 << 3;

export function svmRdtscpSupported(amd: KvmAmd): boolean {
  return amd.has("RDTSCP");
}

export function svmXsavesSupported(amd: KvmAmd): boolean {
  return amd.has("XSAVES");
}

/** The leaf that describes SVM; nesting is never offered, so that nobody reads it. */
export function svmSetSupportedCpuid(amd: KvmAmd, leaf: number, entry: CpuidEntry): void {
  if (leaf !== SVM_LEAF) return;
  entry.eax = 1;
  entry.ebx = GUEST_ASIDS;
  entry.ecx = 0;
  entry.edx = amd.has("SVM_NRIPS") ? SVM_NRIPS : 0;
}
