import type { VcpuState } from "../state/vcpu-state.js";
import { acceptsPicInterrupt, acknowledgeApicInterrupt, apicHasInterrupt } from "./lapic-vectors.js";

/** kvm_cpu_has_extint: the PIC's INTR is up, and this vCPU's local APIC lets it through. */
function hasExtint(vcpu: VcpuState): boolean {
  return vcpu.vm.pic?.output === true && vcpu.lapic !== undefined && acceptsPicInterrupt(vcpu.lapic);
}

/**
 * Which interrupt the vCPU would take (irq.c). With an irqchip it is the PIC's or the local APIC's; without one, the vector that
 * KVM_INTERRUPT queued.
 */
export function cpuHasInterrupt(vcpu: VcpuState): boolean {
  if (!vcpu.lapic) return vcpu.arch.interrupt.pending;
  return hasExtint(vcpu) || apicHasInterrupt(vcpu.lapic) !== -1;
}

/** kvm_cpu_has_injectable_intr: hardware that virtualizes the APIC delivers from it by itself. */
export function cpuHasInjectableInterrupt(vcpu: VcpuState): boolean {
  if (!vcpu.lapic) return vcpu.arch.interrupt.pending;
  if (hasExtint(vcpu)) return true;
  if (vcpu.arch.apicvActive) return false;
  return apicHasInterrupt(vcpu.lapic) !== -1;
}

/** kvm_cpu_get_interrupt: take the vector; it is in service from now on. */
export function cpuGetInterrupt(vcpu: VcpuState): number {
  if (!vcpu.lapic) return vcpu.arch.interrupt.nr;
  const { pic } = vcpu.vm;
  return pic !== undefined && hasExtint(vcpu) ? pic.acknowledge() : acknowledgeApicInterrupt(vcpu.lapic);
}
