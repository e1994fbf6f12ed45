import { VECTOR } from "@tapvisor/x86-isa";
import { KvmError, REQUEST, type VcpuEvents } from "../contract/index.js";
import { makeRequest } from "../requests.js";
import type { VcpuState } from "../state/vcpu-state.js";
import { processNmi } from "./inject.js";

/** #BP and #OF are raised by an instruction that executes again after a restore. */
const isSoft = (vector: number): boolean => vector === VECTOR.BP || vector === VECTOR.OF;

/** KVM_GET_VCPU_EVENTS. */
export function getVcpuEvents(vcpu: VcpuState): VcpuEvents {
  const { arch } = vcpu;
  const { ops } = vcpu.kvm;
  processNmi(vcpu);
  return {
    exception: {
      injected: arch.exception.pending && !isSoft(arch.exception.nr),
      nr: arch.exception.nr,
      hasErrorCode: arch.exception.hasErrorCode,
      errorCode: arch.exception.errorCode,
    },
    interrupt: {
      injected: arch.interrupt.pending && !arch.interrupt.soft,
      nr: arch.interrupt.nr,
      soft: false,
      shadow: ops.get_interrupt_shadow(vcpu),
    },
    nmi: { injected: arch.nmiInjected, pending: arch.nmiPending !== 0, masked: ops.get_nmi_mask(vcpu) },
    // Never valid when it is reported: a SIPI that arrived is part of the multiprocessing state.
    sipiVector: 0,
  };
}

/** KVM_SET_VCPU_EVENTS. */
export function setVcpuEvents(vcpu: VcpuState, events: VcpuEvents): void {
  const { arch } = vcpu;
  const { ops } = vcpu.kvm;
  const { exception, interrupt, nmi } = events;
  if (exception.injected && (exception.nr < 0 || exception.nr > 31 || exception.nr === VECTOR.NMI)) {
    throw new KvmError("EINVAL", "KVM_SET_VCPU_EVENTS", `exception.nr is ${exception.nr}: not an exception's vector`);
  }
  if (interrupt.injected && (interrupt.nr < 0 || interrupt.nr > 255)) {
    throw new KvmError("EINVAL", "KVM_SET_VCPU_EVENTS", `interrupt.nr is ${interrupt.nr}: not a vector`);
  }
  processNmi(vcpu);
  arch.exception.pending = exception.injected;
  arch.exception.nr = exception.nr;
  arch.exception.hasErrorCode = exception.hasErrorCode;
  arch.exception.errorCode = exception.errorCode;
  arch.interrupt.pending = interrupt.injected;
  arch.interrupt.nr = interrupt.nr;
  arch.interrupt.soft = interrupt.soft;
  ops.set_interrupt_shadow(vcpu, interrupt.shadow);
  arch.nmiInjected = nmi.injected;
  arch.nmiPending = nmi.pending ? 1 : 0;
  ops.set_nmi_mask(vcpu, nmi.masked);
  if (vcpu.lapic) vcpu.lapic.sipiVector = events.sipiVector;
  makeRequest(vcpu, REQUEST.EVENT);
}
