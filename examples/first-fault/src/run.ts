import { loadLongMode, type Interceptor } from "@tapvisor/sdk";
import { createMachine } from "tapvisor";
import { assembleGuest, GUEST_ADDRESS } from "./guest.js";

const MEMORY = 4 << 20;

/** Run the guest on a stock machine with these interceptors: its console, and why it stopped. */
export async function runGuest(interceptors: readonly Interceptor[]): Promise<{ console: string; stop: string }> {
  let console = "";
  const machine = createMachine({
    memorySize: MEMORY,
    interceptors,
    console: { write: (bytes) => void (console += new TextDecoder().decode(bytes)) },
  });
  machine.load(loadLongMode(assembleGuest(), { memorySize: MEMORY, address: GUEST_ADDRESS }));
  const { stop } = await machine.run({ maxInstructions: 1_000_000 });
  machine.dispose();
  return { console, stop };
}
