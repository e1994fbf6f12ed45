import type { KvmVcpu } from "../vcpu.js";

/**
 * Which interrupt the vCPU would take (irq.c). With an irqchip it is the local APIC's; without one, the vector that
 * KVM_INTERRUPT queued.
 */
export function cpuHasInterrupt(vcpu: KvmVcpu): boolean {
  if (!vcpu.lapic) return vcpu.arch.interrupt.pending;
  return vcpu.lapic.hasInterrupt() !== -1;
}

/** kvm_cpu_has_injectable_intr: hardware that virtualizes the APIC delivers from it by itself. */
export function cpuHasInjectableInterrupt(vcpu: KvmVcpu): boolean {
  if (!vcpu.lapic) return vcpu.arch.interrupt.pending;
  if (vcpu.arch.apicvActive) return false;
  return vcpu.lapic.hasInterrupt() !== -1;
}

/** kvm_cpu_get_interrupt: take the vector; it is in service from now on. */
export function cpuGetInterrupt(vcpu: KvmVcpu): number {
  if (!vcpu.lapic) return vcpu.arch.interrupt.nr;
  return vcpu.lapic.acknowledgeInterrupt();
}
