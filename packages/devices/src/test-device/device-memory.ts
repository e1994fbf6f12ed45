import type { Device } from "@tapvisor/kvm-core/contract";

const SIZE = 0x1_0000;

/** Bytes of the memory that are not 0, by offset. */
export interface DeviceMemoryState {
  bytes: [offset: number, value: number][];
}

/**
 * The memory of QEMU's pc-testdev: 64 KiB that keep what is written but are a device, so that every access of the guest
 * exits and its instruction is emulated.
 */
export class DeviceMemory implements Device<DeviceMemoryState> {
  readonly name = "pc-testdev iomem";
  readonly size = SIZE;
  readonly #bytes = new Uint8Array(SIZE);

  read(offset: number, data: Uint8Array): void {
    data.set(this.#bytes.subarray(offset, offset + data.length));
  }

  write(offset: number, data: Uint8Array): void {
    this.#bytes.set(data, offset);
  }

  reset(): void {
    this.#bytes.fill(0);
  }

  saveState(): DeviceMemoryState {
    return { bytes: [...this.#bytes.entries()].filter(([, value]) => value !== 0) };
  }

  restoreState({ bytes }: DeviceMemoryState): void {
    this.#bytes.fill(0);
    for (const [offset, value] of bytes) this.#bytes[offset] = value;
  }
}
