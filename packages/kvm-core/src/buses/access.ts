import type { AddressBus } from "./address-bus.js";
import type { BusSpace, VcpuExit } from "../contract/index.js";
import { claimsAddress, readLapicPage, writeLapicPage } from "../irqchip/lapic.js";
import type { Lapic, VcpuState } from "../state/vcpu-state.js";

/** The name of the device whose page each vCPU has of its own, which is on no bus. */
const LOCAL_APIC = "local APIC";

const busOf = ({ vm: { buses } }: VcpuState, space: BusSpace): AddressBus =>
  space === "port" ? buses.port : buses.memory;

/** The local APIC, where the access is to its page. */
function lapicAt({ lapic }: VcpuState, space: BusSpace, address: number): Lapic | undefined {
  return space === "memory" && lapic !== undefined && claimsAddress(lapic, address) ? lapic : undefined;
}

/**
 * The guest reads where its memory is not: true, with the answer in `into`, where a device in the kernel is. Otherwise
 * user space is to be asked, by {@link readExit}, and its answer passed on by {@link readAnswered}.
 */
export function readDevice(vcpu: VcpuState, space: BusSpace, address: number, into: Uint8Array): boolean {
  const lapic = lapicAt(vcpu, space, address);
  if (lapic !== undefined) {
    readLapicPage(lapic, address, into);
    told(vcpu, space, address, into, LOCAL_APIC);
    return true;
  }
  const found = busOf(vcpu, space).find(address, into.length);
  if (found?.inKernel !== true) return false;
  found.device.read(address - found.base, into);
  told(vcpu, space, address, into, found.device.name);
  return true;
}

/** User space has answered a read: what the guest gets is in `data` afterwards. */
export function readAnswered(vcpu: VcpuState, space: BusSpace, address: number, data: Uint8Array): void {
  if (!vcpu.kvm.hooks.deviceAccess.used) return;
  told(vcpu, space, address, data, busOf(vcpu, space).find(address, data.length)?.device.name);
}

/** The hook `deviceAccess` for a read. */
function told(vcpu: VcpuState, space: BusSpace, address: number, data: Uint8Array, device: string | undefined): void {
  const hook = vcpu.kvm.hooks.deviceAccess;
  if (hook.used) hook.call({ vm: vcpu.vm, vcpu, space, address, isWrite: false, device, data, drop: false });
}

/** The guest writes where its memory is not: true when that is done; otherwise user space has to, by {@link writeExit}. */
export function writeDevice(vcpu: VcpuState, space: BusSpace, address: number, data: Uint8Array): boolean {
  const lapic = lapicAt(vcpu, space, address);
  const found = lapic === undefined ? busOf(vcpu, space).find(address, data.length) : undefined;
  const hook = vcpu.kvm.hooks.deviceAccess;
  if (hook.used) {
    const device = lapic === undefined ? found?.device.name : LOCAL_APIC;
    const event = { vm: vcpu.vm, vcpu, space, address, isWrite: true, device, data, drop: false };
    hook.call(event);
    if (event.drop) return true;
  }
  if (lapic !== undefined) writeLapicPage(lapic, address, data);
  else if (found?.inKernel === true) found.device.write(address - found.base, data);
  else return false;
  return true;
}

/** Ask user space for a read: it fills `data` before it runs the vCPU again. */
export function readExit(space: BusSpace, address: number, data: Uint8Array): VcpuExit {
  return accessExit(space, address, false, data);
}

/** Have user space do a write. */
export function writeExit(space: BusSpace, address: number, data: Uint8Array): VcpuExit {
  return accessExit(space, address, true, data);
}

function accessExit(space: BusSpace, address: number, isWrite: boolean, data: Uint8Array): VcpuExit {
  const { length } = data;
  if (space === "memory") return { reason: "mmio", mmio: { address, isWrite, length, data } };
  const size = length === 1 || length === 2 ? length : 4;
  return { reason: "io", io: { direction: isWrite ? "out" : "in", size, port: address, count: 1, data } };
}
