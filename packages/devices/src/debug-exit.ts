import { defineDevice, type DeviceEnvironment } from "@tapvisor/kvm-core/contract";

/**
 * QEMU's isa-debug-exit: a write ends the run, and its value becomes the exit status `(value << 1) | 1`.
 * It has no registers, so no state; a read gives zeros.
 */
export const debugExit = defineDevice<null, { environment: Pick<DeviceEnvironment, "requestStop"> }>({
  name: "isa-debug-exit",
  size: 4,
  read: (_state, _offset, data) => void data.fill(0),
  write(_state, _offset, data, { environment }) {
    let value = 0;
    for (let i = Math.min(data.length, 4) - 1; i >= 0; i--) value = value * 256 + (data[i] ?? 0);
    environment.requestStop({ kind: "debug-exit", value });
  },
});

/** The status of a process whose guest wrote `value` to the debug-exit port, as QEMU's: it is never 0. */
export function debugExitStatus(value: number): number {
  return ((value << 1) | 1) & 0xff;
}
