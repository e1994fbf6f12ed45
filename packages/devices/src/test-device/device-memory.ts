import { defineDevice } from "@tapvisor/kvm-core/contract";

/** Bytes of the memory that are not 0, by offset: a state that is no larger than what was written. */
export interface DeviceMemoryState {
  bytes: Record<number, number>;
}

/**
 * The memory of QEMU's pc-testdev: 64 KiB that keep what is written but are a device, so that every access of the guest
 * exits and its instruction is emulated.
 */
export const deviceMemory = defineDevice<DeviceMemoryState>({
  name: "pc-testdev iomem",
  size: 0x1_0000,
  initialState: () => ({ bytes: {} }),
  read({ bytes }, offset, data) {
    for (let i = 0; i < data.length; i++) data[i] = bytes[offset + i] ?? 0;
  },
  write({ bytes }, offset, data) {
    for (const [i, byte] of data.entries()) {
      if (byte === 0) delete bytes[offset + i];
      else bytes[offset + i] = byte;
    }
  },
});
