import { REQUEST } from "../contract/index.js";
import { injectNmi } from "../events/exceptions.js";
import { kick, makeRequest } from "../requests.js";
import type { Lapic, VmState } from "../state/vcpu-state.js";
import type { ApicMessage } from "./apic-message.js";
import {
  APIC, APIC_EVENT, DELIVERY, DEST_LOGICAL, DFR_CLUSTER, DFR_FLAT, INT_ASSERT, INT_LEVELTRIG, LVT_LEVEL_TRIGGER,
  LVT_MASKED, MODE_MASK, SHORTHAND, SHORTHAND_MASK, VECTOR_MASK, X2APIC_BROADCAST, XAPIC_BROADCAST,
} from "./lapic-registers.js"; // prettier-ignore
import { isTscDeadline } from "./lapic-timer.js";
import { apicId, hwEnabled, isEnabled, isX2apic, register, setVector, swEnabled } from "./lapic-vectors.js";

/** Interrupts that come to local APICs, from each other, the I/O APIC, and their own vector tables. */

/** __apic_accept_irq: true when the APIC took it. */
export function acceptInterrupt(
  apic: Lapic,
  deliveryMode: number,
  vector: number,
  level: boolean,
  levelTriggered: boolean,
): boolean {
  const { vcpu } = apic;
  switch (deliveryMode) {
    case DELIVERY.LOWEST:
    case DELIVERY.FIXED:
      if (deliveryMode === DELIVERY.LOWEST) apic.arbitrationPriority += 1;
      if ((levelTriggered && !level) || !isEnabled(apic)) return false;
      setVector(apic, APIC.TMR, vector, levelTriggered);
      if (vcpu.arch.apicvActive) {
        vcpu.kvm.ops.deliver_posted_interrupt(vcpu, vector);
      } else {
        setVector(apic, APIC.IRR, vector, true);
        apic.irrPending = true;
        makeRequest(vcpu, REQUEST.EVENT);
        kick(vcpu);
      }
      return true;
    case DELIVERY.NMI:
      injectNmi(vcpu);
      kick(vcpu);
      return true;
    case DELIVERY.INIT:
      if (levelTriggered && !level) return false;
      apic.pendingEvents = APIC_EVENT.INIT;
      makeRequest(vcpu, REQUEST.EVENT);
      kick(vcpu);
      return true;
    case DELIVERY.STARTUP:
      apic.sipiVector = vector;
      apic.pendingEvents |= APIC_EVENT.SIPI;
      makeRequest(vcpu, REQUEST.EVENT);
      kick(vcpu);
      return true;
    default:
      // ExtINT is the PIC's, which answers for itself; SMI and remote read are not delivered.
      return false;
  }
}

/** kvm_apic_match_dest: is the message for this APIC? `source` is undefined for what is not an IPI. */
function matches(apic: Lapic, message: ApicMessage, source: Lapic | undefined): boolean {
  switch (message.shorthand) {
    case SHORTHAND.SELF:
      return apic === source;
    case SHORTHAND.ALL:
      return true;
    case SHORTHAND.OTHERS:
      return apic !== source;
    default:
      break;
  }
  // What is not an IPI addresses a broadcast as an xAPIC does, whatever the mode of the target.
  const x2apicFormat = isX2apic(source ?? apic);
  const broadcast = source !== undefined && x2apicFormat ? X2APIC_BROADCAST : XAPIC_BROADCAST;
  if (message.destination === broadcast) return true;
  return message.logical ? matchesLogical(apic, message.destination) : message.destination === apicId(apic);
}

function matchesLogical(apic: Lapic, destination: number): boolean {
  const ldr = register(apic, APIC.LDR);
  if (isX2apic(apic)) return ldr >>> 16 === destination >>> 16 && (ldr & destination & 0xffff) !== 0;
  const logicalId = ldr >>> 24;
  switch (register(apic, APIC.DFR)) {
    case DFR_FLAT:
      return (logicalId & destination) !== 0;
    case DFR_CLUSTER:
      return logicalId >> 4 === destination >> 4 && (logicalId & destination & 0xf) !== 0;
    default:
      return false;
  }
}

/**
 * kvm_irq_delivery_to_apic: hand a message to every APIC that it is for; of a lowest-priority one, to the APIC that
 * took the fewest. Returns how many took it.
 *
 * @param source the APIC that sends an IPI; undefined for an I/O APIC or a message-signalled interrupt
 */
export function deliverToApics(vm: VmState, source: Lapic | undefined, message: ApicMessage): number {
  const { deliveryMode, vector, level, levelTriggered } = message;
  let delivered = 0;
  let lowest: Lapic | undefined;
  for (const { lapic } of vm.vcpus) {
    if (lapic === undefined || !hwEnabled(lapic) || !matches(lapic, message, source)) continue;
    if (deliveryMode !== DELIVERY.LOWEST) {
      if (acceptInterrupt(lapic, deliveryMode, vector, level, levelTriggered)) delivered += 1;
    } else if (swEnabled(lapic) && (lowest === undefined || lapic.arbitrationPriority < lowest.arbitrationPriority)) {
      lowest = lapic;
    }
  }
  if (lowest !== undefined && acceptInterrupt(lowest, deliveryMode, vector, level, levelTriggered)) delivered += 1;
  return delivered;
}

/** apic_send_ipi: what the interrupt command register says. */
export function sendIpi(apic: Lapic): void {
  const low = register(apic, APIC.ICR);
  const high = register(apic, APIC.ICR2);
  deliverToApics(apic.vcpu.vm, apic, {
    vector: low & VECTOR_MASK,
    deliveryMode: low & MODE_MASK,
    logical: (low & DEST_LOGICAL) !== 0,
    level: (low & INT_ASSERT) !== 0,
    levelTriggered: (low & INT_LEVELTRIG) !== 0,
    shorthand: low & SHORTHAND_MASK,
    destination: isX2apic(apic) ? high : high >>> 24,
  });
}

/** kvm_apic_local_deliver: one entry of the local vector table has its event. */
export function deliverLocal(apic: Lapic, offset: number): boolean {
  const entry = register(apic, offset);
  if (!hwEnabled(apic) || (entry & LVT_MASKED) !== 0) return false;
  return acceptInterrupt(apic, entry & MODE_MASK, entry & VECTOR_MASK, true, (entry & LVT_LEVEL_TRIGGER) !== 0);
}

/** apic_has_pending_timer. */
export function hasPendingTimer(apic: Lapic): boolean {
  return apic.timer.pending && isEnabled(apic) && (register(apic, APIC.LVTT) & LVT_MASKED) === 0;
}

/** kvm_inject_apic_timer_irqs. */
export function injectTimer(apic: Lapic): void {
  const { timer } = apic;
  if (!timer.pending) return;
  deliverLocal(apic, APIC.LVTT);
  if (isTscDeadline(timer)) timer.tscDeadline = 0n;
  timer.pending = false;
}
