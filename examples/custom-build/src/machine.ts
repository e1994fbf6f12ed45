import { vmxBackend } from "@tapvisor/arch-vmx";
import { createMachine, defineMachine, type Machine } from "@tapvisor/sdk";
import { createHost, SKYLAKE_SERVER } from "@tapvisor/x86-cpu";
import { consolePort } from "./console-port.js";
import { sumDevice } from "./sum-device.js";

/** Where this machine has its devices. */
export const PLACES = { CONSOLE_PORT: 0xe9, SUM: 0xd000_0000 } as const;
export const MEMORY = 2 << 20;
/** RAM of the host beside the guest's: page tables, VMCS regions, bitmaps. */
const HOST_OVERHEAD = 8 << 20;

/** A machine of our own: 2 MiB, one processor, a console port and a device in memory; no serial port, no PC about it. */
export function customMachine(write: (bytes: Uint8Array) => void): Machine {
  return createMachine(
    defineMachine({
      name: "custom",
      memorySize: MEMORY,
      backends: [vmxBackend],
      host() {
        const host = createHost({ profile: SKYLAKE_SERVER, ramBytes: MEMORY + HOST_OVERHEAD });
        return { host, retired: () => host.clock.instructions };
      },
      devices: () => [
        { bus: "port", base: PLACES.CONSOLE_PORT, device: consolePort({ sink: { write } }) },
        { bus: "memory", base: PLACES.SUM, device: sumDevice() },
      ],
    }),
  );
}
