import type { Vcpu } from "@tapvisor/kvm-core/contract";
import { PIN_BASED, VMCS } from "@tapvisor/x86-isa";
import { NO_DEADLINE, toVmx } from "../vcpu-vmx.js";

export function vmxWriteTscOffset(vcpu: Vcpu, offset: bigint): void {
  toVmx(vcpu).vmcs.write(VMCS.TSC_OFFSET, offset);
}

/** Arm the preemption timer; every entry computes its value from the deadline. */
export function vmxSetHvTimer(vcpu: Vcpu, deadlineTsc: bigint): boolean {
  const vmx = toVmx(vcpu);
  const now = vmx.kvm.readL1Tsc(vcpu);
  const delta = deadlineTsc > now ? deadlineTsc - now : 0n;
  // The field has 32 bits. It might fit later, but a host timer serves as well.
  if (delta >> BigInt(vmx.intel.preemptionTimerShift + 32) !== 0n) return false;
  vmx.hvDeadlineTsc = vmx.vmcs.processor.tsc() + Number(delta);
  vmx.vmcs.setBits(VMCS.PIN_BASED_VM_EXEC_CONTROL, PIN_BASED.VMX_PREEMPTION_TIMER);
  return true;
}

export function vmxCancelHvTimer(vcpu: Vcpu): void {
  const vmx = toVmx(vcpu);
  vmx.hvDeadlineTsc = NO_DEADLINE;
  vmx.vmcs.clearBits(VMCS.PIN_BASED_VM_EXEC_CONTROL, PIN_BASED.VMX_PREEMPTION_TIMER);
}
