import { PAGE_SIZE, type Kvm, type PhysicalMemory, type Vm } from "@tapvisor/kvm-core";
import { BELOW_4G_END } from "../loaders/multiboot-info.js";
import { guestCpuid } from "./guest-cpuid.js";
import type { MachineDefinition } from "./define-machine.js";

const FOUR_GIB = 0x1_0000_0000;
/** Three pages below the BIOS, and above the identity map of 0xfffbc000: where QEMU has them. */
const REAL_MODE_TSS = 0xfffbd000;

/** The VM of a machine, with its memory, interrupt controllers and timer. */
export function createVm(definition: MachineDefinition, kvm: Kvm): Vm {
  const vm = kvm.createVm();
  backMemory(vm, kvm.host.memory, definition.memorySize);
  vm.createIrqchip();
  vm.createPit2();
  // What real mode needs on a processor without unrestricted guest; elsewhere nobody looks there.
  vm.setTssAddr(REAL_MODE_TSS);
  return vm;
}

/** The vCPUs of a machine, with the CPUID that its definition has chosen. */
export function createVcpus(definition: MachineDefinition, kvm: Kvm, vm: Vm): void {
  for (let id = 0; id < (definition.cpus ?? 1); id++) {
    vm.createVcpu(id).setCpuid2(guestCpuid(kvm.getSupportedCpuid(), id, definition));
  }
}

/** Back guest memory by host pages: up to 3 GiB below the devices' addresses, the rest from 4 GiB on. */
function backMemory(vm: Vm, memory: PhysicalMemory, size: number): void {
  const below = Math.min(size, BELOW_4G_END);
  const parts = [
    { guestPhysAddr: 0, memorySize: below },
    { guestPhysAddr: FOUR_GIB, memorySize: size - below },
  ];
  for (const [slot, part] of parts.filter(({ memorySize }) => memorySize > 0).entries()) {
    vm.setUserMemoryRegion({ slot, ...part, hostAddress: memory.allocatePages(part.memorySize / PAGE_SIZE) });
  }
}
