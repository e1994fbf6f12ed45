import { defineDevice } from "@tapvisor/sdk";

/**
 * Two 32-bit registers in memory: a value written to the first is added to the sum that the second reads. Writing the
 * second starts over.
 */
export const sumDevice = defineDevice({
  name: "sum",
  size: 8,
  initialState: () => ({ sum: 0 }),
  read(state, offset, data) {
    if (offset === 4 && data.length === 4) new DataView(data.buffer, data.byteOffset).setUint32(0, state.sum, true);
  },
  write(state, offset, data) {
    if (data.length !== 4) return;
    const value = new DataView(data.buffer, data.byteOffset).getUint32(0, true);
    state.sum = offset === 0 ? (state.sum + value) >>> 0 : 0;
  },
});
