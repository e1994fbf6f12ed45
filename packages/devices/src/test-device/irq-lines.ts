import { defineDevice, type Board } from "@tapvisor/kvm-core/contract";

/** Inputs of the I/O APIC. */
const LINES = 24;

/** Lines that are asserted, a bit each. */
export interface IrqLinesState {
  asserted: number;
}

/** A port for each input of the interrupt controllers, as QEMU's pc-testdev has: the line is up while not 0 was written. */
export const irqLines = defineDevice<IrqLinesState, Pick<Board, "irq">>({
  name: "pc-testdev irq-line",
  size: LINES,
  initialState: () => ({ asserted: 0 }),
  read: (_state, _offset, data) => void data.fill(0),
  write(state, offset, data, { irq }) {
    const level = data.some((byte) => byte !== 0);
    state.asserted = level ? state.asserted | (1 << offset) : state.asserted & ~(1 << offset);
    irq(offset).set(level);
  },
  stateChanged({ asserted }, { irq }) {
    for (let gsi = 0; gsi < LINES; gsi++) irq(gsi).set(((asserted >> gsi) & 1) === 1);
  },
});
