import type { Device, DeviceEnvironment } from "@tapvisor/kvm-core/contract";

/**
 * QEMU's isa-debug-exit: a write ends the run, and its value becomes the exit status `(value << 1) | 1`.
 * It has no registers, so no state; a read gives zeros.
 */
export class DebugExit implements Device<null> {
  readonly name = "isa-debug-exit";
  readonly size = 4;
  readonly #environment: Pick<DeviceEnvironment, "requestStop">;

  constructor(environment: Pick<DeviceEnvironment, "requestStop">) {
    this.#environment = environment;
  }

  read(_offset: number, data: Uint8Array): void {
    data.fill(0);
  }

  write(_offset: number, data: Uint8Array): void {
    let value = 0;
    for (let i = Math.min(data.length, 4) - 1; i >= 0; i--) value = value * 256 + (data[i] ?? 0);
    this.#environment.requestStop({ kind: "debug-exit", value });
  }

  reset(): void {}

  saveState(): null {
    return null;
  }

  restoreState(): void {}
}

/** The status of a process whose guest wrote `value` to the debug-exit port, as QEMU's: it is never 0. */
export function debugExitStatus(value: number): number {
  return ((value << 1) | 1) & 0xff;
}
