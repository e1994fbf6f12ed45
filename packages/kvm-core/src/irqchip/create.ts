import { REQUEST } from "../contract/index.js";
import { kick, makeRequest } from "../requests.js";
import type { VmState } from "../state/vcpu-state.js";
import { createHostTimer } from "../time/host-timers.js";
import { I8254 } from "./i8254.js";
import { I8259Pair } from "./i8259-pair.js";
import { Ioapic } from "./ioapic.js";
import { requestIoapicScan } from "./ioapic-scan.js";
import { deliverToApics } from "./lapic-delivery.js";
import { acceptsPicInterrupt } from "./lapic-vectors.js";

/** The line of the timer. */
const PIT_GSI = 0;

/** The I/O APIC and the PICs of a VM; local APICs come with its vCPUs. */
export function createControllers(vm: VmState): void {
  vm.irqchipInKernel = true;
  vm.ioapic = new Ioapic({
    deliver: (message) => deliverToApics(vm, undefined, message),
    requestScan: () => requestIoapicScan(vm),
    acknowledged: (pin) => lineAcknowledged(vm, pin),
  });
  vm.pic = new I8259Pair(
    () => wakeForPic(vm),
    (input) => lineAcknowledged(vm, input),
  );
}

/** The timer, on line 0. */
export function createTimer(vm: VmState): void {
  const { kvm } = vm;
  vm.pit = new I8254({
    now: () => kvm.host.clock.now(),
    createTimer: (name, fire) => createHostTimer(kvm, `${name} of vm ${vm.id}`, fire),
    setIrq: (level) => setLine(vm, PIT_GSI, level),
  });
}

/** kvm_set_irq, by KVM's default routing: below 16 a line is one of the PICs' and of the I/O APIC's, then the latter's alone. */
export function setLine({ pic, ioapic }: VmState, gsi: number, level: boolean): void {
  if (pic && gsi < pic.inputs) pic.setIrq(gsi, level);
  ioapic?.setIrq(gsi, level);
}

/** kvm_notify_acked_irq: the service of a line's interrupt has ended, in the PIC or the I/O APIC. */
function lineAcknowledged(vm: VmState, gsi: number): void {
  if (gsi === PIT_GSI) vm.pit?.irqAcknowledged();
}

/** The PIC's INTR goes to the first vCPU whose local APIC lets it through. */
function wakeForPic(vm: VmState): void {
  const vcpu = vm.vcpus.find(({ lapic }) => lapic !== undefined && acceptsPicInterrupt(lapic));
  if (vcpu === undefined) return;
  makeRequest(vcpu, REQUEST.EVENT);
  kick(vcpu);
}
