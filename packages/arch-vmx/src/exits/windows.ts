import { REQUEST, type Vcpu } from "@tapvisor/kvm-core/contract";
import { CPU_BASED, VMCS } from "@tapvisor/x86-isa";
import { toVmx } from "../vcpu-vmx.js";

/** `handle_external_intr` has served it already. */
export function handleExternalInterrupt(_vcpu: Vcpu): boolean {
  return true;
}

export function handleInterruptWindow(vcpu: Vcpu): boolean {
  const { kvm, vmcs } = toVmx(vcpu);
  vmcs.clearBits(VMCS.CPU_BASED_VM_EXEC_CONTROL, CPU_BASED.INTERRUPT_WINDOW_EXITING);
  kvm.makeRequest(vcpu, REQUEST.EVENT);
  return true;
}

export function handleNmiWindow(vcpu: Vcpu): boolean {
  const { kvm, vmcs } = toVmx(vcpu);
  vmcs.clearBits(VMCS.CPU_BASED_VM_EXEC_CONTROL, CPU_BASED.NMI_WINDOW_EXITING);
  kvm.makeRequest(vcpu, REQUEST.EVENT);
  return true;
}

export function handlePreemptionTimer(vcpu: Vcpu): boolean {
  toVmx(vcpu).kvm.lapicExpiredHvTimer(vcpu);
  return true;
}
