import type { Vcpu } from "@tapvisor/kvm-core/contract";
import { CR0, EPT, EPT_MEMORY_TYPE_SHIFT, MEMORY_TYPE } from "@tapvisor/x86-isa";
import type { KvmIntel } from "../kvm-intel.js";
import { toVmx } from "../vcpu-vmx.js";
import { hasEpt1GPage } from "../vmcs/capabilities.js";
import { constructEptp, EPT_LEVELS, eptSyncContext, vpidSyncContext } from "../vmcs/tlb.js";

/** PT_DIRECTORY_LEVEL: 2 MiB. PT_PDPE_LEVEL: 1 GiB. */
const LEVEL_2M = 2;
const LEVEL_1G = 3;

export function vmxFlushTlb(vcpu: Vcpu): void {
  const vmx = toVmx(vcpu);
  const { intel, vmcs } = vmx;
  vpidSyncContext(intel, vmcs.processor, vmx.vpid);
  const { rootHpa } = vcpu.arch.mmu;
  if (intel.features.ept && rootHpa >= 0) eptSyncContext(intel, vmcs.processor, constructEptp(intel, rootHpa));
}

export function getEptLevel(): number {
  return EPT_LEVELS;
}

/** Memory type of a leaf entry. RAM is write-back whatever the guest says, unless a device could bypass the caches. */
export function vmxGetMtMask(vcpu: Vcpu, gfn: number, isMmio: boolean): bigint {
  const { kvm } = toVmx(vcpu);
  const entry = (type: number, ignorePat: boolean): bigint =>
    BigInt((type << EPT_MEMORY_TYPE_SHIFT) | (ignorePat ? EPT.IGNORE_PAT : 0));
  if (isMmio) return entry(MEMORY_TYPE.UC, false);
  if (!kvm.hasNoncoherentDma(vcpu.vm)) return entry(MEMORY_TYPE.WB, true);
  // KVM_X86_QUIRK_CD_NW_CLEARED is on unless user space turns it off: CD does not make memory uncacheable.
  if (kvm.readCr0(vcpu, CR0.CD) !== 0n) return entry(MEMORY_TYPE.WB, true);
  return entry(kvm.mtrrGuestMemoryType(vcpu, gfn), false);
}

export function vmxGetLpageLevel(intel: KvmIntel): number {
  return intel.features.ept && !hasEpt1GPage(intel.config) ? LEVEL_2M : LEVEL_1G;
}
