import { byteRegisters } from "../buses/byte-registers.js";
import type { BusDevice } from "../contract/index.js";
import { CASCADE, I8259, type I8259State } from "./i8259.js";

const MASTER_PORT = 0x20;
const SLAVE_PORT = 0xa0;
const ELCR_PORT = 0x4d0;
/** An interrupt whose request has gone again before it was acknowledged comes as that of input 7. */
const SPURIOUS_INPUT = 7;

/** KVM_GET_IRQCHIP of KVM_IRQCHIP_PIC_MASTER and KVM_IRQCHIP_PIC_SLAVE. */
export interface I8259PairState {
  readonly master: I8259State;
  readonly slave: I8259State;
}

/** The two 8259As of a PC, which KVM has in the kernel (i8259.c). */
export class I8259Pair {
  readonly inputs = 16;
  readonly #master: I8259;
  readonly #slave: I8259;
  #output = false;

  /**
   * @param outputRaised told when INTR goes up
   * @param acknowledged told of each input whose service ends
   */
  constructor(
    private readonly outputRaised: () => void,
    acknowledged: (input: number) => void,
  ) {
    // The timer, the keyboard, the cascade, the clock and the coprocessor are wired for edges.
    this.#master = new I8259(true, 0xf8, acknowledged);
    this.#slave = new I8259(false, 0xde, (input) => acknowledged(8 + input));
  }

  /** INTR: an interrupt waits for the processor. */
  get output(): boolean {
    return this.#output;
  }

  getState(): I8259PairState {
    return { master: this.#master.getState(), slave: this.#slave.getState() };
  }

  setState({ master, slave }: I8259PairState): void {
    this.#master.setState(master);
    this.#slave.setState(slave);
    this.#update();
  }

  reset(): void {
    this.#master.reset();
    this.#slave.reset();
    this.#output = false;
  }

  /** kvm_pic_set_irq. */
  setIrq(input: number, level: boolean): void {
    if (input < 8) this.#master.setInput(input, level);
    else this.#slave.setInput(input - 8, level);
    this.#update();
  }

  /** pic_update_irq: the slave's output is an edge on the master's input. */
  #update(): void {
    if (this.#slave.pending() !== -1) {
      this.#master.setInput(CASCADE, true);
      this.#master.setInput(CASCADE, false);
    }
    const before = this.#output;
    this.#output = this.#master.pending() !== -1;
    if (this.#output && !before) this.outputRaised();
  }

  /** kvm_pic_read_irq: the INTA cycles. Returns the vector. */
  acknowledge(): number {
    const input = this.#master.pending();
    let vector: number;
    if (input === -1) vector = this.#master.irqBase + SPURIOUS_INPUT;
    else {
      this.#master.acknowledge(input);
      vector = input === CASCADE ? this.#acknowledgeSlave() : this.#master.irqBase + input;
    }
    this.#output = false;
    this.#update();
    return vector;
  }

  #acknowledgeSlave(): number {
    const input = this.#slave.pending();
    if (input === -1) return this.#slave.irqBase + SPURIOUS_INPUT;
    this.#slave.acknowledge(input);
    return this.#slave.irqBase + input;
  }

  /** Its registers, as devices on the port bus, with their places. */
  devices(): readonly (readonly [port: number, device: BusDevice])[] {
    return [
      [MASTER_PORT, this.#registers("8259A master", this.#master)],
      [SLAVE_PORT, this.#registers("8259A slave", this.#slave)],
      [
        ELCR_PORT,
        byteRegisters(
          "ELCR",
          2,
          (chip) => this.#chip(chip).elcr,
          (chip, value) => (this.#chip(chip).elcr = value),
        ),
      ],
    ];
  }

  #chip(index: number): I8259 {
    return index === 0 ? this.#master : this.#slave;
  }

  #registers(name: string, chip: I8259): BusDevice {
    return byteRegisters(
      name,
      2,
      (offset) => {
        const value = chip.read(offset === 1);
        this.#update();
        return value;
      },
      (offset, value) => {
        if (offset === 1) chip.writeData(value);
        else chip.writeCommand(value);
        this.#update();
      },
    );
  }
}
