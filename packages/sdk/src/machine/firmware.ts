import type { FirmwareState, Vcpu, Vm } from "@tapvisor/kvm-core";
import { flatSegment } from "../loaders/image.js";

/** What firmware does to one machine: as it starts, and as it wakes from sleep state S3. None of its code runs. */
export class Firmware {
  readonly #state: FirmwareState;
  readonly #vm: Vm;

  constructor(state: FirmwareState, vm: Vm) {
    this.#state = state;
    this.#vm = vm;
  }

  /** A guest can say where it wants to go on. */
  get canWake(): boolean {
    return this.#state.wakingVectorAt !== undefined;
  }

  /** Before an image is entered. */
  start(): void {
    this.#setPorts();
    for (const { address, data } of this.#state.memory) this.#vm.writeGuest(address, data);
  }

  /** Memory was kept; the boot processor goes on at the waking vector. */
  wake(bootProcessor: Vcpu): void {
    this.#setPorts();
    const { wakingVectorAt } = this.#state;
    if (wakingVectorAt !== undefined) enterRealMode(bootProcessor, readU32(this.#vm, wakingVectorAt));
  }

  #setPorts(): void {
    for (const [port, value] of this.#state.ports) this.#vm.buses.port.write(port, Uint8Array.of(value));
  }
}

const readU32 = (vm: Vm, address: number): number => new DataView(vm.readGuest(address, 4).buffer).getUint32(0, true);

/** Have a processor go on at an address below 1 MiB, in real mode. */
function enterRealMode(vcpu: Vcpu, address: number): void {
  const selector = address >>> 4;
  vcpu.setSregs({ ...vcpu.getSregs(), cs: { ...flatSegment("code16", selector), base: BigInt(selector * 16) } });
  vcpu.setRegs({ ...vcpu.getRegs(), rip: BigInt(address & 0xf) });
}
