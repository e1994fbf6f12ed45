import { APIC_BASE } from "@tapvisor/x86-isa";
import type { Lapic, VcpuState } from "../state/vcpu-state.js";
import { deliverSipiVector } from "../registers/segments.js";
import { resetVcpu } from "./vcpu.js";
import { APIC_EVENT } from "../irqchip/lapic-registers.js";
import { resetLapic } from "../irqchip/lapic-state.js";

/** kvm_apic_has_events. */
export function hasPendingApicEvents(vcpu: VcpuState): boolean {
  return vcpu.lapic !== undefined && vcpu.lapic.pendingEvents !== 0;
}

/** kvm_apic_accept_events: INIT and SIPI (SDM vol. 3, "Multiple-Processor Management"). */
export function acceptApicEvents(apic: Lapic): void {
  const { vcpu, pendingEvents } = apic;
  if (pendingEvents === 0) return;
  apic.pendingEvents = 0;
  if ((pendingEvents & APIC_EVENT.INIT) !== 0) {
    resetLapic(apic, true);
    resetVcpu(vcpu, true);
    const bsp = (vcpu.arch.apicBase & APIC_BASE.BSP) !== 0n;
    vcpu.arch.mpState = bsp ? "runnable" : "init_received";
  }
  if ((pendingEvents & APIC_EVENT.SIPI) !== 0 && vcpu.arch.mpState === "init_received") {
    deliverSipiVector(vcpu, apic.sipiVector);
    vcpu.arch.mpState = "runnable";
  }
}
