import { createMachine } from "tapvisor";
import { guestImage, MEMORY_SIZE } from "./image.mjs";
import { Turns } from "./turns.mjs";

/** Instructions of one slice: a few milliseconds. */
const SLICE = 200_000;

/** A kernel's guest on our machine. */
export async function onTapvisor(kernel, bits) {
  const turns = new Turns(`${kernel.name}, ${bits} bits, on Tapvisor`);
  const console = { write: (bytes) => bytes.forEach((byte) => turns.report(byte)) };
  const machine = createMachine({ memorySize: MEMORY_SIZE, console });
  machine.load(guestImage(kernel, bits));
  return {
    /** Seconds that each of `count` turns took. */
    async measure(count) {
      const until = turns.after(count);
      while (!until.reached()) {
        const { stop } = await machine.run({ maxInstructions: SLICE });
        if (stop !== "budget") throw new Error(`${kernel.name}: the guest ended with ${stop}`);
      }
      return until.seconds();
    },
    instructions: () => machine.instructions,
    dispose: () => machine.dispose(),
  };
}
