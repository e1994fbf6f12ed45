import type { IoExit, MmioExit, Vm } from "../contract/index.js";

/** Hand a port access that left the vCPU to the device that is there. String instructions access a port again and again. */
export function accessPort({ buses }: Vm, { direction, size, port, count, data }: IoExit): void {
  for (let i = 0; i < count; i++) {
    const bytes = data.subarray(i * size, (i + 1) * size);
    if (direction === "out") buses.port.write(port, bytes);
    else readOrFloat(buses.port.read(port, bytes), bytes);
  }
}

/** The same for an access to guest physical memory. */
export function accessMemory({ buses }: Vm, { address, isWrite, length, data }: MmioExit): void {
  const bytes = data.subarray(0, length);
  if (isWrite) buses.memory.write(address, bytes);
  else readOrFloat(buses.memory.read(address, bytes), bytes);
}

/** Nobody drives the bus: all ones. */
function readOrFloat(isDriven: boolean, bytes: Uint8Array): void {
  if (!isDriven) bytes.fill(0xff);
}
