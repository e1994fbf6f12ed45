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

  #chipAt(port: number): I8259 | undefined {
    switch (port & ~1) {
      case MASTER_PORT:
        return this.#master;
      case SLAVE_PORT:
        return this.#slave;
      default:
        return undefined;
    }
  }

  /** A read of a byte; false where no register of the two is. */
  portRead(port: number, into: Uint8Array): boolean {
    const chip = this.#chipAt(port);
    if (into.length !== 1) return false;
    if (chip !== undefined) {
      into[0] = chip.read((port & 1) === 1);
      this.#update();
    } else if (port === ELCR_PORT) into[0] = this.#master.elcr;
    else if (port === ELCR_PORT + 1) into[0] = this.#slave.elcr;
    else return false;
    return true;
  }

  portWrite(port: number, data: Uint8Array): boolean {
    const chip = this.#chipAt(port);
    if (data.length !== 1) return false;
    if (chip !== undefined) {
      if ((port & 1) === 1) chip.writeData(data[0]);
      else chip.writeCommand(data[0]);
      this.#update();
    } else if (port === ELCR_PORT) this.#master.elcr = data[0];
    else if (port === ELCR_PORT + 1) this.#slave.elcr = data[0];
    else return false;
    return true;
  }
}
