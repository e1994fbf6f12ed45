import { DR7, RFLAGS, VECTOR, exceptionOf } from "@tapvisor/x86-isa";
import { REQUEST } from "../contract/index.js";
import { getRflags, setRflagsOnly } from "../registers/flags.js";
import { updateDr7 } from "../registers/debug.js";
import { makeRequest } from "../requests.js";
import { cpuGetInterrupt, cpuHasInjectableInterrupt } from "../irqchip/interrupts.js";
import type { VcpuState } from "../state/vcpu-state.js";
import { queueInterrupt } from "./exceptions.js";

/** HF_GUEST_MASK: the vCPU runs a nested guest. */
export const HF_GUEST = 1 << 5;

/** Faults set RF in the pushed flags; #DB is a trap here, since its fault form is raised with RF by the processor. */
function isFault(vector: number): boolean {
  if (vector === VECTOR.DB) return false;
  return (exceptionOf(vector)?.type ?? "fault") === "fault";
}

/**
 * inject_pending_event: what an exit interrupted comes first, then a new NMI or interrupt. True when a nested guest has
 * to be left before anything can be injected.
 */
export function injectPendingEvent(vcpu: VcpuState, wantsInterruptWindow: boolean): boolean {
  const { arch } = vcpu;
  const { ops } = vcpu.kvm;
  const { exception } = arch;

  if (exception.pending) {
    if (isFault(exception.nr)) setRflagsOnly(vcpu, getRflags(vcpu) | RFLAGS.RF);
    if (exception.nr === VECTOR.DB && (arch.dr7 & DR7.GD) !== 0n) {
      arch.dr7 &= ~DR7.GD;
      updateDr7(vcpu);
    }
    ops.queue_exception(vcpu, exception.nr, exception.hasErrorCode, exception.errorCode, exception.reinject);
    return false;
  }
  if (arch.nmiInjected) {
    ops.set_nmi(vcpu);
    return false;
  }
  if (arch.interrupt.pending) {
    ops.set_irq(vcpu);
    return false;
  }

  const nested = (arch.hflags & HF_GUEST) !== 0;
  if (nested && ops.check_nested_events(vcpu, wantsInterruptWindow)) return true;

  if (arch.nmiPending > 0 && ops.nmi_allowed(vcpu)) {
    arch.nmiPending -= 1;
    arch.nmiInjected = true;
    ops.set_nmi(vcpu);
  } else if (cpuHasInjectableInterrupt(vcpu)) {
    if (nested && ops.check_nested_events(vcpu, wantsInterruptWindow)) return true;
    if (ops.interrupt_allowed(vcpu)) {
      queueInterrupt(vcpu, cpuGetInterrupt(vcpu), false);
      ops.set_irq(vcpu);
    }
  }
  return false;
}

/** process_nmi: one NMI may be in service and one wait; the rest are lost (SDM vol. 3, "Nonmaskable Interrupt"). */
export function processNmi(vcpu: VcpuState): void {
  const { arch } = vcpu;
  const limit = vcpu.kvm.ops.get_nmi_mask(vcpu) || arch.nmiInjected ? 1 : 2;
  arch.nmiPending = Math.min(arch.nmiPending + vcpu.nmiQueued, limit);
  vcpu.nmiQueued = 0;
  makeRequest(vcpu, REQUEST.EVENT);
}
