import { defineDevice } from "@tapvisor/kvm-core/contract";

/** Four ports that give back what was written to them, by the byte: the I/O port of QEMU's pc-testdev. */
export const testLatch = defineDevice({
  name: "pc-testdev latch",
  size: 4,
  initialState: () => ({ bytes: [0, 0, 0, 0] }),
  read: ({ bytes }, offset, data) => data.set(bytes.slice(offset, offset + data.length)),
  write: ({ bytes }, offset, data) => data.forEach((byte, i) => void (bytes[offset + i] = byte)),
});
