import { IOAPIC_DEFAULT_BASE, REQUEST, type BusDevice, type BusSpace } from "../contract/index.js";
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
  const ioapic = new Ioapic({
    deliver: (message) => deliverToApics(vm, undefined, message),
    requestScan: () => requestIoapicScan(vm),
    acknowledged: (pin) => lineAcknowledged(vm, pin),
  });
  const pic = new I8259Pair(
    () => wakeForPic(vm),
    (input) => lineAcknowledged(vm, input),
  );
  placeAll(vm, [
    ["memory", IOAPIC_DEFAULT_BASE, ioapic],
    ...pic.devices().map(([port, device]) => ["port", port, device] as const),
  ]);
  vm.irqchipInKernel = true;
  vm.ioapic = ioapic;
  vm.pic = pic;
}

/** The timer, on line 0. */
export function createTimer(vm: VmState): void {
  const { kvm } = vm;
  const pit = new I8254({
    now: () => kvm.host.clock.now(),
    createTimer: (name, fire) => createHostTimer(kvm, `${name} of vm ${vm.id}`, fire),
    setIrq: (level) => setLine(vm, PIT_GSI, level),
  });
  placeAll(
    vm,
    pit.devices().map(([port, device]) => ["port", port, device] as const),
  );
  vm.pit = pit;
}

/** Put devices of the kernel's on the buses of a VM, all of them or, where one finds its place taken, none. */
function placeAll({ buses }: VmState, devices: readonly (readonly [BusSpace, number, BusDevice])[]): void {
  const placed: { dispose(): void }[] = [];
  try {
    for (const [space, base, device] of devices) placed.push(buses[space].attachKernel(base, device));
  } catch (error) {
    for (const one of placed) one.dispose();
    throw error;
  }
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
