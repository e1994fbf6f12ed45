import type { KvmVcpu } from "../vcpu.js";

/** kvm_cpu_has_extint: the PIC's INTR is up, and this vCPU's local APIC lets it through. */
function hasExtint(vcpu: KvmVcpu): boolean {
  return vcpu.vm.pic?.output === true && vcpu.lapic?.acceptsPicInterrupt === true;
}

/**
 * Which interrupt the vCPU would take (irq.c). With an irqchip it is the PIC's or the local APIC's; without one, the vector that
 * KVM_INTERRUPT queued.
 */
export function cpuHasInterrupt(vcpu: KvmVcpu): boolean {
  if (!vcpu.lapic) return vcpu.arch.interrupt.pending;
  return hasExtint(vcpu) || vcpu.lapic.hasInterrupt() !== -1;
}

/** kvm_cpu_has_injectable_intr: hardware that virtualizes the APIC delivers from it by itself. */
export function cpuHasInjectableInterrupt(vcpu: KvmVcpu): boolean {
  if (!vcpu.lapic) return vcpu.arch.interrupt.pending;
  if (hasExtint(vcpu)) return true;
  if (vcpu.arch.apicvActive) return false;
  return vcpu.lapic.hasInterrupt() !== -1;
}

/** kvm_cpu_get_interrupt: take the vector; it is in service from now on. */
export function cpuGetInterrupt(vcpu: KvmVcpu): number {
  if (!vcpu.lapic) return vcpu.arch.interrupt.nr;
  const { pic } = vcpu.vm;
  return pic !== undefined && hasExtint(vcpu) ? pic.acknowledge() : vcpu.lapic.acknowledgeInterrupt();
}
