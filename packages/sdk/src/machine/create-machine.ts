import {
  composeCore, DEFAULT_HOST_OPTIONS, VcpuDriver,
  type Attachment, type Interceptor, type InterceptorScope, type InputReceiver, type Kvm, type PlacedDevice, type Vcpu,
  type Vm,
} from "@tapvisor/kvm-core"; // prettier-ignore
import { installImage, type GuestImage } from "../loaders/image.js";
import { BoardLines } from "./board-lines.js";
import { createVcpus, createVm } from "./create-vm.js";
import { Firmware } from "./firmware.js";
import { checkMachine, type MachineDefinition } from "./define-machine.js";

/** A machine that was made from its definition: a core of its own, one VM, its vCPUs and devices. */
export interface Machine extends Pick<VcpuDriver, "run" | "input" | "inputs" | "instructions"> {
  readonly kvm: Kvm;
  readonly vm: Vm;
  readonly vcpus: readonly Vcpu[];
  readonly devices: readonly PlacedDevice[];
  /** The guest waits for input: some device of it would take a byte up at once. */
  readonly wantsInput: boolean;
  /** Watch or change what happens, from now until the result is disposed of. */
  attach(interceptor: Interceptor, scope?: InterceptorScope): Attachment;
  /** Put an image into the guest and point the boot processor at it. */
  load(image: GuestImage): void;
  /** Destroy the core's VMs, and take the backend out of it. */
  dispose(): void;
}

/**
 * Make a machine: compose the core, have it take a backend, create the VM with its memory, vCPUs and devices.
 *
 * @throws TypeError for a definition that `defineMachine` refuses; KvmError where no backend supports the processor, or
 * the host lacks the memory
 */
export function createMachine(definition: MachineDefinition): Machine {
  checkMachine(definition);
  const { host, retired } = definition.host();
  const { memory, processors, clock, timers, scheduler } = host;
  const kvm = composeCore({
    host: {
      memory,
      processors,
      clock,
      timers,
      scheduler,
      options: { ...DEFAULT_HOST_OPTIONS, ...definition.hostOptions },
    },
    backends: definition.backends,
    interceptors: definition.interceptors ?? [],
    ...(definition.backend === undefined ? {} : { options: { backend: definition.backend } }),
  });
  try {
    return assemble(definition, kvm, retired);
  } catch (error) {
    takeApart(kvm);
    throw error;
  }
}

/** The machine on a core that has its backend. */
function assemble(definition: MachineDefinition, kvm: Kvm, retired: () => number): Machine {
  const { memorySize, cpus = 1 } = definition;
  const vm = createVm(definition, kvm);
  const firmware = new Firmware(definition.firmware?.({ memorySize, cpus }) ?? NO_FIRMWARE, vm);
  const devices: PlacedDevice[] = [];
  const sleep = {
    // Devices are reset as the machine wakes: until then one of them has to wake it.
    enter: () => vm.reset(),
    wake() {
      for (const { device } of devices) device.reset();
      firmware.wake(bootProcessor(vm));
    },
  };
  const driver = new VcpuDriver({ core: kvm.core, vm, retired, ...(firmware.canWake ? { sleep } : {}) });
  const lines = new BoardLines(vm);
  const receivers: InputReceiver[] = [];
  const placed = definition.devices?.({
    environment: driver.environment,
    memorySize,
    cpus,
    irq: (gsi) => lines.line(gsi),
    onInput(receiver) {
      receivers.push(receiver);
      driver.onInput((bytes) => receiver.receive(bytes));
    },
    unmapPage: (guestPhysAddr) => vm.unmapPage(guestPhysAddr),
  });
  for (const part of placed ?? []) {
    vm.buses[part.bus].attach(part.base, part.device);
    devices.push(part);
  }
  // After the devices: a port without one may be passed through to the first vCPU's guest.
  createVcpus(definition, kvm, vm);
  return {
    kvm,
    vm,
    vcpus: [...vm.vcpus],
    devices,
    get inputs() {
      return driver.inputs;
    },
    get instructions() {
      return driver.instructions;
    },
    get wantsInput() {
      return receivers.some((receiver) => receiver.wantsInput());
    },
    run: (options) => driver.run(options),
    input: (bytes) => driver.input(bytes),
    attach: (interceptor, scope) => kvm.core.attach(interceptor, scope),
    load(image) {
      firmware.start();
      installImage(image, vm, bootProcessor(vm));
    },
    dispose: () => takeApart(kvm),
  };
}

const NO_FIRMWARE = { ports: [], memory: [] };

function bootProcessor({ vcpus: [first] }: Vm): Vcpu {
  if (first === undefined) throw new TypeError("a machine has at least one vCPU");
  return first;
}

/** Destroy the VMs, and take the backend out of the core. */
function takeApart(kvm: Kvm): void {
  for (const vm of kvm.vms) vm.destroy();
  kvm.exit();
}
