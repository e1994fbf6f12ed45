import {
  composeCore, DEFAULT_HOST_OPTIONS, PAGE_SIZE, VcpuDriver,
  type Attachment, type Board, type FirmwareState,
  type Interceptor, type InterceptorScope, type IoBus, type IrqLine, type Kvm, type PhysicalMemory,
  type PlacedDevice, type Vcpu, type Vm,
} from "@tapvisor/kvm-core"; // prettier-ignore
import { flatSegment, installImage, type GuestImage } from "../loaders/image.js";
import { BELOW_4G_END } from "../loaders/multiboot-info.js";
import { guestCpuid } from "./guest-cpuid.js";
import type { MachineDefinition } from "./define-machine.js";

/** A machine that was made from its definition: a core of its own, one VM, its vCPUs and devices. */
export interface ComposedMachine extends Pick<VcpuDriver, "run" | "input" | "inputs" | "instructions"> {
  readonly kvm: Kvm;
  readonly vm: Vm;
  readonly vcpus: readonly Vcpu[];
  readonly devices: readonly PlacedDevice[];
  /** Watch or change what happens, from now until the result is disposed of. */
  attach(interceptor: Interceptor, scope?: InterceptorScope): Attachment;
  /** Put an image into the guest and point the boot processor at it. */
  load(image: GuestImage): void;
  /** Destroy the VM and take the backend out again. */
  dispose(): void;
}

const FOUR_GIB = 0x1_0000_0000;

/** Three pages below the BIOS, and above the identity map of 0xfffbc000: where QEMU has them. */
const REAL_MODE_TSS = 0xfffbd000;

/**
 * Make a machine: compose the core, have it take a backend, create the VM with its memory, vCPUs and devices.
 *
 * @throws KvmError where no backend supports the processor, or the host lacks the memory
 */
export function createMachine(definition: MachineDefinition): ComposedMachine {
  const { memorySize, cpus = 1 } = definition;
  const { host: machine, retired } = definition.host();
  const { memory, processors, clock, timers, scheduler } = machine;
  const options = { ...DEFAULT_HOST_OPTIONS, ...definition.hostOptions };
  const host = { memory, processors, clock, timers, scheduler, options };
  const kvm = composeCore({
    host,
    backends: definition.backends,
    interceptors: definition.interceptors ?? [],
    ...(definition.backend === undefined ? {} : { options: { backend: definition.backend } }),
  });
  try {
    const vm = kvm.createVm();
    backMemory(vm, host.memory, memorySize);
    vm.createIrqchip();
    vm.createPit2();
    // What real mode needs on a processor without unrestricted guest; elsewhere nobody looks there.
    vm.setTssAddr(REAL_MODE_TSS);
    const vcpus = Array.from({ length: cpus }, (_, id) => {
      const vcpu = vm.createVcpu(id);
      vcpu.setCpuid2(guestCpuid(kvm.getSupportedCpuid(), id, definition));
      return vcpu;
    });
    const firmware = definition.firmware?.({ memorySize, cpus }) ?? NO_FIRMWARE;
    const { wakingVectorAt } = firmware;
    const ports = definition.bus();
    const driver = new VcpuDriver({
      core: kvm.core,
      vm,
      ports,
      memory: definition.bus(),
      retired,
      ...(wakingVectorAt === undefined
        ? {}
        : {
            sleep: {
              // Devices are reset as the machine wakes: until then one of them has to wake it.
              enter: () => vm.reset(),
              wake() {
                for (const { device } of devices) device.reset();
                setPorts(firmware, vm, ports);
                enterRealMode(boot(vcpus), readU32(vm, wakingVectorAt));
              },
            },
          }),
    });
    const board: Board = {
      environment: driver.environment,
      memorySize,
      cpus,
      irq: (gsi) => irqLine(vm, gsi),
      onInput: (receiver) => driver.onInput(receiver),
      unmapPage: (guestPhysAddr) => vm.unmapPage(guestPhysAddr),
    };
    const devices = definition.devices?.(board) ?? [];
    for (const { bus, base, device } of devices) (bus === "port" ? driver.ports : driver.memory).attach(base, device);
    return {
      kvm,
      vm,
      vcpus,
      devices,
      get inputs() {
        return driver.inputs;
      },
      get instructions() {
        return driver.instructions;
      },
      run: (options) => driver.run(options),
      input: (bytes) => driver.input(bytes),
      attach: (interceptor, scope) => kvm.core.attach(interceptor, scope),
      load(image) {
        setPorts(firmware, vm, ports);
        for (const { address, data } of firmware.memory) vm.writeGuest(address, data);
        installImage(image, vm, boot(vcpus));
      },
      dispose() {
        vm.destroy();
        kvm.exit();
      },
    };
  } catch (error) {
    for (const vm of kvm.vms) vm.destroy();
    kvm.exit();
    throw error;
  }
}

function boot(vcpus: readonly Vcpu[]): Vcpu {
  const [first] = vcpus;
  if (first === undefined) throw new TypeError("a machine has at least one vCPU");
  return first;
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

const NO_FIRMWARE: FirmwareState = { ports: [], memory: [] };

/** Write to the ports what firmware writes whenever the machine starts. */
function setPorts({ ports }: FirmwareState, vm: Vm, bus: IoBus): void {
  for (const [port, value] of ports) {
    const data = Uint8Array.of(value);
    if (!vm.writePort(port, data)) bus.write(port, data);
  }
}

const readU32 = (vm: Vm, address: number): number => new DataView(vm.readGuest(address, 4).buffer).getUint32(0, true);

/** Have a processor go on at an address below 1 MiB, in real mode. */
function enterRealMode(vcpu: Vcpu, address: number): void {
  const selector = address >>> 4;
  vcpu.setSregs({ ...vcpu.getSregs(), cs: { ...flatSegment("code16", selector), base: BigInt(selector * 16) } });
  vcpu.setRegs({ ...vcpu.getRegs(), rip: BigInt(address & 0xf) });
}

/** A level that reaches the interrupt controllers only when it changes. */
function irqLine(vm: Vm, gsi: number): IrqLine {
  let last = false;
  return {
    set(level) {
      if (level === last) return;
      last = level;
      vm.irqLine(gsi, level);
    },
  };
}
