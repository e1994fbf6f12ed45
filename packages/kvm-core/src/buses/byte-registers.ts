import type { BusDevice } from "../contract/index.js";

/**
 * A chip with registers of a byte: a longer access is split into one for each byte, as the bus of a PC does for devices
 * of 8 bits.
 */
export function byteRegisters(
  name: string,
  size: number,
  read: (offset: number) => number,
  write: (offset: number, value: number) => void,
): BusDevice {
  return {
    name,
    size,
    read(offset, data) {
      for (let i = 0; i < data.length; i++) data[i] = read(offset + i);
    },
    write(offset, data) {
      for (const [i, value] of data.entries()) write(offset + i, value);
    },
  };
}
