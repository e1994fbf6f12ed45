import { PAGE_FAULT } from "@tapvisor/x86-isa";
import { REQUEST } from "../contract/index.js";
import { emulateInstruction } from "../emulate/instruction.js";
import { gfnOf } from "../memory/slots.js";
import { makeRequest } from "../requests.js";
import type { KvmVcpu } from "../vcpu.js";

/** kvm_mmu_unload: the root is loaded anew before the next entry. */
export function mmuUnload(vcpu: KvmVcpu): void {
  vcpu.arch.mmu.rootHpa = -1;
}

/** kvm_mmu_reset_context: something that translation depends on has changed. */
export function mmuResetContext(vcpu: KvmVcpu): void {
  mmuUnload(vcpu);
  vcpu.arch.mmu.shadowRootLevel = vcpu.kvm.tdpLevel;
}

/** kvm_mmu_new_cr3: loading the root again also hands the guest's CR3 to the backend. */
export function mmuNewCr3(vcpu: KvmVcpu): void {
  mmuUnload(vcpu);
}

/** kvm_mmu_reload: root and guest CR3 go to the backend when they are not there. */
export function mmuReload(vcpu: KvmVcpu): void {
  const { mmu } = vcpu.arch;
  if (mmu.rootHpa !== -1) return;
  mmu.rootHpa = vcpu.vm.tdp.root();
  vcpu.kvm.ops.set_tdp_cr3(vcpu, mmu.rootHpa);
}

/** kvm_mmu_invlpg. With two-dimensional paging the guest's own INVLPG does not exit; a request flushes it all. */
export function mmuInvlpg(vcpu: KvmVcpu, _linear: bigint): void {
  makeRequest(vcpu, REQUEST.TLB_FLUSH);
}

/** kvm_mmu_page_fault on a second-stage violation: true = stay in the run loop. */
export function mmuPageFault(vcpu: KvmVcpu, guestPhysical: number, errorCode: number): boolean {
  const outcome = vcpu.vm.tdp.fault(vcpu, gfnOf(guestPhysical), (errorCode & PAGE_FAULT.W) !== 0);
  if (outcome === "retry") return true;
  return emulateInstruction(vcpu, { guestPhysical }) === "done";
}

/** handle_mmio_page_fault on a misconfigured entry. */
export function handleMmioPageFault(vcpu: KvmVcpu, guestPhysical: number): "emulate" | "retry" | "invalid" {
  switch (vcpu.vm.tdp.kindOf(gfnOf(guestPhysical))) {
    case "mmio":
      return "emulate";
    case "absent":
      return "retry";
    case "memory":
      return "invalid";
  }
}
