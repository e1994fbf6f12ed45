import type { Board, Device, IrqLine } from "@tapvisor/kvm-core/contract";

/** Inputs of the I/O APIC. */
const LINES = 24;

/** Lines that are asserted, a bit each. */
export interface IrqLinesState {
  asserted: number;
}

/** A port for each input of the interrupt controllers, as QEMU's pc-testdev has: the line is up while not 0 was written. */
export class IrqLines implements Device<IrqLinesState> {
  readonly name = "pc-testdev irq-line";
  readonly size = LINES;
  readonly #lines: readonly IrqLine[];
  #asserted = 0;

  constructor(board: Pick<Board, "irq">) {
    this.#lines = Array.from({ length: LINES }, (_, gsi) => board.irq(gsi));
  }

  read(_offset: number, data: Uint8Array): void {
    data.fill(0);
  }

  write(offset: number, data: Uint8Array): void {
    const bit = 1 << offset;
    const level = data.some((byte) => byte !== 0);
    this.#asserted = level ? this.#asserted | bit : this.#asserted & ~bit;
    this.#lines[offset]?.set(level);
  }

  reset(): void {
    this.restoreState({ asserted: 0 });
  }

  saveState(): IrqLinesState {
    return { asserted: this.#asserted };
  }

  restoreState({ asserted }: IrqLinesState): void {
    this.#asserted = asserted;
    this.#lines.forEach((line, gsi) => line.set(((asserted >> gsi) & 1) === 1));
  }
}
