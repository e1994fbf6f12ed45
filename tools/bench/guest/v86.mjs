import { fileURLToPath } from "node:url";
import { V86 } from "v86";
import { MEMORY_SIZE, multibootImage } from "./image.mjs";
import { Turns } from "./turns.mjs";

const wasm_path = fileURLToPath(new URL("v86.wasm", import.meta.resolve("v86")));

/** A kernel's 32-bit guest on v86: a Multiboot image without a BIOS, and the same serial port. */
export async function onV86(kernel) {
  const turns = new Turns(`${kernel.name}, on v86`);
  const emulator = new V86({
    wasm_path,
    memory_size: MEMORY_SIZE,
    vga_memory_size: 1 << 20,
    multiboot: { buffer: multibootImage(kernel).buffer },
    disable_keyboard: true,
    disable_mouse: true,
    disable_speaker: true,
    autostart: false,
  });
  emulator.add_listener("serial0-output-byte", (byte) => turns.report(byte));
  await new Promise((resolve) => emulator.add_listener("emulator-ready", resolve));
  return {
    /** Seconds that each of `count` turns took. */
    async measure(count) {
      const until = turns.after(count);
      emulator.run();
      while (!until.reached()) await new Promise((resolve) => setImmediate(resolve));
      await emulator.stop();
      return until.seconds();
    },
    dispose: () => emulator.destroy(),
  };
}
