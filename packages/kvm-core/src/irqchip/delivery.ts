import { REQUEST } from "../contract/index.js";
import { makeAllCpusRequest } from "../requests.js";
import type { KvmVm } from "../vm.js";
import type { ApicMessage, LapicDelivery } from "./lapic-delivery.js";
import { DELIVERY } from "./lapic-registers.js";

/**
 * kvm_irq_delivery_to_apic: hand a message to every APIC that it is for; of a lowest-priority one, to the APIC that
 * took the fewest. Returns how many took it.
 *
 * @param source the APIC that sends an IPI; undefined for an I/O APIC or a message-signalled interrupt
 */
export function deliverToApics(vm: KvmVm, source: LapicDelivery | undefined, message: ApicMessage): number {
  let delivered = 0;
  let lowest: LapicDelivery | undefined;
  for (const { lapic } of vm.vcpus) {
    if (lapic === undefined || !lapic.hwEnabled || !lapic.matches(message, source)) continue;
    if (message.deliveryMode !== DELIVERY.LOWEST) {
      if (lapic.accept(message.deliveryMode, message.vector, message.level, message.levelTriggered)) delivered += 1;
    } else if (lapic.swEnabled && (lowest === undefined || lapic.arbitrationPriority < lowest.arbitrationPriority)) {
      lowest = lapic;
    }
  }
  if (lowest?.accept(message.deliveryMode, message.vector, message.level, message.levelTriggered)) delivered += 1;
  return delivered;
}

/** kvm_make_scan_ioapic_request: which vectors must exit on EOI depends on every APIC's place and the I/O APIC's routes. */
export function requestIoapicScan(vm: KvmVm): void {
  if (vm.ioapic !== undefined) makeAllCpusRequest(vm, REQUEST.SCAN_IOAPIC);
}
