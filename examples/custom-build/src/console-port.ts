import { defineDevice, type ByteSink } from "@tapvisor/sdk";

/** Reads as itself, so that software finds out whether the console is there. */
const PRESENT = 0xe9;

/** A console of one port: what is written to it is output, as on the emulators that have port 0xE9. */
export const consolePort = defineDevice<{ written: number }, { sink: ByteSink }>({
  name: "console port",
  size: 1,
  initialState: () => ({ written: 0 }),
  read: (_state, _offset, data) => void data.fill(PRESENT),
  write(state, _offset, data, { sink }) {
    state.written += data.length;
    sink.write(data.slice());
  },
});
