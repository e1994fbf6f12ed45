import { REQUEST } from "../contract/index.js";
import { makeRequest } from "../requests.js";
import type { VcpuState } from "../state/vcpu-state.js";
import { tdpRoot } from "./tdp.js";

/** kvm_mmu_unload: the root is loaded anew before the next entry. */
export function mmuUnload(vcpu: VcpuState): void {
  vcpu.arch.mmu.rootHpa = -1;
}

/** kvm_mmu_reset_context: something that translation depends on has changed. */
export function mmuResetContext(vcpu: VcpuState): void {
  mmuUnload(vcpu);
  vcpu.arch.mmu.shadowRootLevel = vcpu.kvm.tdpLevel;
}

/** kvm_mmu_new_cr3: loading the root again also hands the guest's CR3 to the backend. */
export function mmuNewCr3(vcpu: VcpuState): void {
  mmuUnload(vcpu);
}

/** kvm_mmu_reload: root and guest CR3 go to the backend when they are not there. */
export function mmuReload(vcpu: VcpuState): void {
  const { mmu } = vcpu.arch;
  if (mmu.rootHpa !== -1) return;
  mmu.rootHpa = tdpRoot(vcpu.vm);
  vcpu.kvm.ops.set_tdp_cr3(vcpu, mmu.rootHpa);
}

/** kvm_mmu_invlpg. With two-dimensional paging the guest's own INVLPG does not exit; a request flushes it all. */
export function mmuInvlpg(vcpu: VcpuState, _linear: bigint): void {
  makeRequest(vcpu, REQUEST.TLB_FLUSH);
}
