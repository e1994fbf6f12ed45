import { writeGuest } from "../memory/guest.js";
import type { VcpuState } from "../state/vcpu-state.js";
import { kernelMmioWrite, kernelPortWrite } from "./device.js";
import type { DelayedWrite } from "./state.js";

/**
 * Make the writes of an instruction seen, in order, and then do what comes after it. One that waits for user space stops
 * here; the next `run` goes on with the rest.
 *
 * @returns what `after` answers; false where user space has to do something first
 */
export function flushWrites(vcpu: VcpuState, writes: readonly DelayedWrite[], after: () => boolean): boolean {
  for (let i = 0; i < writes.length; i++) {
    const { kind, address, data } = writes[i];
    if (kind === "memory") {
      writeGuest(vcpu.vm, address, data);
      continue;
    }
    const claimed = kind === "port" ? kernelPortWrite(vcpu, address, data) : kernelMmioWrite(vcpu, address, data);
    if (claimed) continue;
    if (kind === "mmio") {
      vcpu.exit = { reason: "mmio", mmio: { address, isWrite: true, length: data.length, data } };
    } else {
      const size = data.length === 1 || data.length === 2 ? data.length : 4;
      vcpu.exit = { reason: "io", io: { direction: "out", size, port: address, count: 1, data } };
    }
    const rest = writes.slice(i + 1);
    vcpu.completeUserspaceIo = () => flushWrites(vcpu, rest, after);
    return false;
  }
  return after();
}
