import { readAnswered, readDevice, readExit, writeDevice, writeExit } from "../buses/access.js";
import { REG } from "../contract/index.js";
import { registerReadU32, registerWriteU32 } from "../registers/cache.js";
import type { VcpuState } from "../state/vcpu-state.js";

function accumulatorBytes(vcpu: VcpuState, size: number): Uint8Array {
  const eax = registerReadU32(vcpu, REG.RAX);
  const bytes = new Uint8Array(size);
  for (let i = 0; i < size; i++) bytes[i] = (eax >>> (8 * i)) & 0xff;
  return bytes;
}

/** What IN read: AL and AX leave the rest of RAX alone, EAX clears the upper half. */
function loadAccumulator(vcpu: VcpuState, data: Uint8Array): void {
  let value = 0;
  for (let i = data.length - 1; i >= 0; i--) value = ((value << 8) | (data[i] ?? 0)) >>> 0;
  if (data.length === 4) {
    registerWriteU32(vcpu, REG.RAX, value);
    return;
  }
  const mask = data.length === 1 ? 0xff : 0xffff;
  const eax = registerReadU32(vcpu, REG.RAX);
  const { arch } = vcpu;
  arch.regs.u32[2 * REG.RAX] = ((eax & ~mask) | value) >>> 0;
  arch.regsDirty |= 1 << REG.RAX;
}

/**
 * kvm_fast_pio_out, and the same for IN: one access of the accumulator to a port. The caller has skipped the instruction
 * already. True = a device in the kernel has answered.
 */
export function fastPio(vcpu: VcpuState, direction: "in" | "out", size: 1 | 2 | 4, port: number): boolean {
  if (direction === "out") {
    const data = accumulatorBytes(vcpu, size);
    if (writeDevice(vcpu, "port", port, data)) return true;
    vcpu.exit = writeExit("port", port, data);
    vcpu.completeUserspaceIo = () => true;
    return false;
  }
  const data = new Uint8Array(size);
  if (readDevice(vcpu, "port", port, data)) {
    loadAccumulator(vcpu, data);
    return true;
  }
  vcpu.exit = readExit("port", port, data);
  vcpu.completeUserspaceIo = () => {
    readAnswered(vcpu, "port", port, data);
    loadAccumulator(vcpu, data);
    return true;
  };
  return false;
}
