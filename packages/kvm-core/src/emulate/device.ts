import type { IoBus } from "../contract/index.js";
import { claimsAddress, readLapicPage, writeLapicPage } from "../irqchip/lapic.js";
import type { VcpuState } from "../state/vcpu-state.js";

/** Devices inside the kernel: true when one of them claims the address and has answered. */
export function kernelMmioRead(vcpu: VcpuState, address: number, into: Uint8Array): boolean {
  const { lapic, vm } = vcpu;
  if (lapic !== undefined && claimsAddress(lapic, address)) {
    readLapicPage(lapic, address, into);
    return true;
  }
  if (vm.ioapic?.claims(address)) {
    vm.ioapic.mmioRead(address, into);
    return true;
  }
  return vm.mmioBus !== undefined && busRead(vcpu, vm.mmioBus, "memory", address, into);
}

export function kernelMmioWrite(vcpu: VcpuState, address: number, data: Uint8Array): boolean {
  const { lapic, vm } = vcpu;
  if (lapic !== undefined && claimsAddress(lapic, address)) {
    writeLapicPage(lapic, address, data);
    return true;
  }
  if (vm.ioapic?.claims(address)) {
    vm.ioapic.mmioWrite(address, data);
    return true;
  }
  return vm.mmioBus !== undefined && busWrite(vcpu, vm.mmioBus, "memory", address, data);
}

export function kernelPortRead(vcpu: VcpuState, port: number, into: Uint8Array): boolean {
  const { pioBus } = vcpu.vm;
  if (vcpu.vm.readPort(port, into)) return true;
  return pioBus !== undefined && busRead(vcpu, pioBus, "port", port, into);
}

export function kernelPortWrite(vcpu: VcpuState, port: number, data: Uint8Array): boolean {
  const { pioBus } = vcpu.vm;
  if (vcpu.vm.writePort(port, data)) return true;
  return pioBus !== undefined && busWrite(vcpu, pioBus, "port", port, data);
}

function busRead(vcpu: VcpuState, bus: IoBus, space: "port" | "memory", address: number, data: Uint8Array): boolean {
  if (!bus.read(address, data)) return false;
  vcpu.kvm.hooks.deviceAccess({
    vm: vcpu.vm,
    vcpu,
    space,
    address,
    isWrite: false,
    device: undefined,
    data,
    drop: false,
  });
  return true;
}

function busWrite(vcpu: VcpuState, bus: IoBus, space: "port" | "memory", address: number, data: Uint8Array): boolean {
  const event = { vm: vcpu.vm, vcpu, space, address, isWrite: true, device: undefined, data, drop: false };
  vcpu.kvm.hooks.deviceAccess(event);
  return event.drop || bus.write(address, data);
}
