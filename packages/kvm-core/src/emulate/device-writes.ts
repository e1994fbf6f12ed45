import { writeDevice, writeExit } from "../buses/access.js";
import { writeGuest } from "../memory/guest.js";
import type { VcpuState } from "../state/vcpu-state.js";
import type { DelayedWrite } from "./state.js";

/**
 * Make the writes of an instruction seen, in order, and then do what comes after it. One that waits for user space stops
 * here; the next `run` goes on with the rest.
 *
 * @returns what `after` answers; false where user space has to do something first
 */
export function flushWrites(vcpu: VcpuState, writes: readonly DelayedWrite[], after: () => boolean): boolean {
  for (const [i, write] of writes.entries()) {
    const { space, address, data } = write;
    if (space === "ram") {
      writeGuest(vcpu.vm, address, data);
      continue;
    }
    if (writeDevice(vcpu, space, address, data)) continue;
    vcpu.exit = writeExit(space, address, data);
    const rest = writes.slice(i + 1);
    vcpu.completeUserspaceIo = () => flushWrites(vcpu, rest, after);
    return false;
  }
  return after();
}
