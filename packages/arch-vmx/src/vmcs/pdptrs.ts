import { REG, type Vcpu } from "@tapvisor/kvm-core/contract";
import { VMCS } from "@tapvisor/x86-isa";
import { toVmx } from "../vcpu-vmx.js";

const FIELDS = [VMCS.GUEST_PDPTR0, VMCS.GUEST_PDPTR1, VMCS.GUEST_PDPTR2, VMCS.GUEST_PDPTR3] as const;
const PDPTR_BIT = 1 << REG.PDPTR;

/** With EPT the processor keeps the four PDPTEs of a guest with PAE paging in the VMCS. */
function usesPdptrs(vcpu: Vcpu): boolean {
  const { kvm } = toVmx(vcpu);
  return kvm.isPaging(vcpu) && kvm.isPae(vcpu) && !kvm.isLongMode(vcpu);
}

/** Write PDPTEs that the core has changed. */
export function loadPdptrs(vcpu: Vcpu): void {
  if ((vcpu.arch.regsDirty & PDPTR_BIT) === 0 || !usesPdptrs(vcpu)) return;
  const { vmcs } = toVmx(vcpu);
  FIELDS.forEach((field, i) => {
    vmcs.write(field, vcpu.arch.mmu.pdptrs[i] ?? 0n);
  });
}

/** Fetch the PDPTEs; they count as dirty, so that the next root load writes them back. */
export function savePdptrs(vcpu: Vcpu): void {
  if (usesPdptrs(vcpu)) {
    const { vmcs } = toVmx(vcpu);
    FIELDS.forEach((field, i) => {
      vcpu.arch.mmu.pdptrs[i] = vmcs.read(field);
    });
  }
  vcpu.arch.regsAvail |= PDPTR_BIT;
  vcpu.arch.regsDirty |= PDPTR_BIT;
}
