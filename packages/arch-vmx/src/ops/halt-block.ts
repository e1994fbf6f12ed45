import type { Vcpu } from "@tapvisor/kvm-core/contract";
import { toVmx } from "../vcpu-vmx.js";

/** The preemption timer counts in the guest alone: while the vCPU sleeps a host timer has to keep the deadline. */
export function vmxPreBlock(vcpu: Vcpu): boolean {
  const { kvm } = toVmx(vcpu);
  if (kvm.lapicHvTimerInUse(vcpu)) kvm.lapicSwitchToSwTimer(vcpu);
  return false;
}

export function vmxPostBlock(vcpu: Vcpu): void {
  const { kvm, ops } = toVmx(vcpu);
  if (ops.set_hv_timer !== undefined) kvm.lapicSwitchToHvTimer(vcpu);
}
