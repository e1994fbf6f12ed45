import type { Vm } from "@tapvisor/kvm-core/contract";

/** Guest physical page of the page table that maps 4 GiB one to one, where user space has not chosen another. */
export const EPT_IDENTITY_PAGETABLE_ADDR = 0xfffbc000;

/** What the backend keeps for a VM: the parts of struct kvm_arch that only vmx.c uses. */
export class VmVmx {
  /** Guest physical address of the TSS for real mode, from KVM_SET_TSS_ADDR; 0 until then. */
  tssAddr = 0;
  identityMapAddr = 0;
  identityMapDone = false;
}

/** The backend's half of a VM, made on first use: 4.9 has no hook for a VM's creation on VT-x. */
export function toVmxVm(vm: Vm): VmVmx {
  const { backendState } = vm;
  if (backendState instanceof VmVmx) return backendState;
  const state = new VmVmx();
  vm.backendState = state;
  return state;
}
