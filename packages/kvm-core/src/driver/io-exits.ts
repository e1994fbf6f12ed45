import type { IoBus, IoExit, LifecycleEvents, MmioExit, Vcpu, Vm } from "../contract/index.js";
import type { KvmCore } from "../core.js";

/** Hands port and memory accesses that left the vCPU to the devices, by way of the hook `deviceAccess`. */
export class IoExits {
  constructor(
    private readonly core: KvmCore,
    private readonly vm: Vm,
    private readonly ports: IoBus,
    private readonly memory: IoBus,
  ) {}

  port(vcpu: Vcpu, { direction, size, port, count, data }: IoExit): void {
    // String instructions access the same port again and again.
    for (let i = 0; i < count; i++) {
      this.#access(vcpu, "port", this.ports, port, direction === "out", data.subarray(i * size, (i + 1) * size));
    }
  }

  mmio(vcpu: Vcpu, { address, isWrite, length, data }: MmioExit): void {
    this.#access(vcpu, "memory", this.memory, address, isWrite, data.subarray(0, length));
  }

  #access(vcpu: Vcpu, space: "port" | "memory", bus: IoBus, address: number, isWrite: boolean, data: Uint8Array): void {
    const hook = this.core.hooks.events.deviceAccess;
    if (!isWrite && !bus.read(address, data)) {
      // Nobody drives the bus: all ones.
      data.fill(0xff);
    }
    if (hook.used) {
      const event: LifecycleEvents["deviceAccess"] = {
        vm: this.vm,
        vcpu,
        space,
        address,
        isWrite,
        device: deviceAt(bus, address, data.length),
        data,
        drop: false,
      };
      hook.call(event);
      if (event.drop) return;
    }
    if (isWrite) bus.write(address, data);
  }
}

function deviceAt(bus: IoBus, address: number, length: number): string | undefined {
  const claim = bus.devices().find(({ base, device }) => base <= address && address + length <= base + device.size);
  return claim?.device.name;
}
