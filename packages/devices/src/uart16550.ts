import type { ByteSink, Device, DeviceEnvironment, IrqLine, TimerHandle } from "@tapvisor/kvm-core/contract";
import {
  CLOCK_HZ, FCR, FIFO_DEPTH, IER, IIR, LCR, LSR, MCR, MSR, REGISTER, TRIGGER_LEVELS, UART_SIZE,
} from "./uart16550-registers.js"; // prettier-ignore

/** One received character with the errors of its line, as the receive FIFO keeps them together. */
export interface ReceivedCharacter {
  readonly byte: number;
  /** PE, FE and BI, in their places in LSR. */
  readonly errors: number;
}

/** All that a UART is: plain data. */
export interface Uart16550State {
  ier: number;
  fcr: number;
  lcr: number;
  mcr: number;
  scr: number;
  /** The divisor latch: DLM:DLL. */
  divisor: number;
  /** OE of LSR. The other bits follow from the rest. */
  overrun: boolean;
  /** The four delta bits of MSR, and CTS, DSR, RI and DCD as they were last seen. */
  msr: number;
  /** The receive FIFO, or RBR alone in 16450 mode. */
  receive: ReceivedCharacter[];
  /** THRE interrupt: set when THR empties, cleared by reading IIR or writing THR. */
  transmitterEmptyPending: boolean;
  /** Characters wait in the FIFO below its trigger level for too long. */
  characterTimeout: boolean;
  /** When that becomes true, in ns of virtual time. */
  timeoutAt: number | null;
  /** What the other end holds back until there is room. */
  backlog: number[];
}

export interface Uart16550Options {
  /** Where transmitted characters go. */
  readonly sink: ByteSink;
  /** INTRPT. The PC's gate by OUT2 belongs to the board, not to the chip. */
  readonly line?: IrqLine;
  /** For the character timeout; without it, the timeout is signalled as soon as characters wait. */
  readonly environment?: Pick<DeviceEnvironment, "clock" | "timers">;
}

/** The other end is there and ready: CTS, DSR and DCD asserted, no ring. */
const MODEM_READY = MSR.CTS | MSR.DSR | MSR.DCD;

function powerOnState(): Uart16550State {
  return {
    ier: 0,
    fcr: 0,
    lcr: 0,
    mcr: 0,
    scr: 0,
    divisor: 12,
    overrun: false,
    msr: MODEM_READY,
    receive: [],
    transmitterEmptyPending: false,
    characterTimeout: false,
    timeoutAt: null,
    backlog: [],
  };
}

/**
 * The UART 16550A (National Semiconductor PC16550D data sheet): transmitter, receiver with FIFOs, interrupts in their
 * priority, modem control and loopback. A transmitted character leaves at once, so the transmitter is always empty;
 * a reader that polls LSR sees what the slowest guest would see.
 */
export class Uart16550 implements Device<Uart16550State> {
  readonly name = "uart16550";
  readonly size = UART_SIZE;
  readonly #sink: ByteSink;
  readonly #line: IrqLine | undefined;
  readonly #environment: Uart16550Options["environment"];
  readonly #timer: TimerHandle | undefined;
  readonly #out = new Uint8Array(1);
  #state = powerOnState();

  constructor({ sink, line, environment }: Uart16550Options) {
    this.#sink = sink;
    this.#line = line;
    this.#environment = environment;
    this.#timer = environment?.timers.create("uart16550 character timeout", () => {
      this.#state.timeoutAt = null;
      this.#state.characterTimeout = this.#state.receive.length > 0;
      this.#updateLine();
    });
  }

  read(offset: number, data: Uint8Array): void {
    for (let i = 0; i < data.length; i++) data[i] = this.#readRegister(offset + i);
  }

  write(offset: number, data: Uint8Array): void {
    for (let i = 0; i < data.length; i++) this.#writeRegister(offset + i, data[i] ?? 0);
  }

  reset(): void {
    // A master reset leaves the scratch register, the divisor latch and the modem inputs alone (data sheet, table I).
    const { scr, divisor, msr, backlog } = this.#state;
    this.#state = { ...powerOnState(), scr, divisor, msr: msr & MSR.INPUTS, backlog };
    this.#timer?.cancel();
    this.#updateLine();
  }

  saveState(): Uart16550State {
    return structuredClone(this.#state);
  }

  restoreState(state: Uart16550State): void {
    this.#state = structuredClone(state);
    if (this.#state.timeoutAt === null) this.#timer?.cancel();
    else this.#timer?.arm(this.#state.timeoutAt);
    this.#updateLine();
  }

  /** Characters from the other end, which waits while the receiver is full: none is lost. */
  send(bytes: Iterable<number>): void {
    for (const byte of bytes) this.#state.backlog.push(byte & 0xff);
    this.#takeBacklog();
  }

  /**
   * One character arrives now, whether there is room or not.
   *
   * @param errors PE, FE or BI of {@link LSR}
   */
  receive(byte: number, errors = 0): void {
    const state = this.#state;
    if (state.receive.length >= this.#depth) {
      state.overrun = true;
      // Without FIFOs the newer character replaces the older; with them it is lost in the shift register.
      if (this.#fifoEnabled) return this.#updateLine();
      state.receive.length = 0;
    }
    state.receive.push({ byte: byte & 0xff, errors });
    this.#restartTimeout();
    this.#updateLine();
  }

  /** An arriving character would raise an interrupt: somebody waits for one. */
  get wantsInput(): boolean {
    return (this.#state.ier & IER.RECEIVED_DATA) !== 0;
  }

  get #fifoEnabled(): boolean {
    return (this.#state.fcr & FCR.ENABLE) !== 0;
  }

  get #depth(): number {
    return this.#fifoEnabled ? FIFO_DEPTH : 1;
  }

  get #dlab(): boolean {
    return (this.#state.lcr & LCR.DLAB) !== 0;
  }

  get #loopback(): boolean {
    return (this.#state.mcr & MCR.LOOP) !== 0;
  }

  #readRegister(offset: number): number {
    const state = this.#state;
    switch (offset) {
      case REGISTER.RBR_THR_DLL:
        return this.#dlab ? state.divisor & 0xff : this.#readReceiver();
      case REGISTER.IER_DLM:
        return this.#dlab ? state.divisor >> 8 : state.ier;
      case REGISTER.IIR_FCR: {
        const cause = this.#interruptCause();
        if (cause === IIR.TRANSMITTER_EMPTY) {
          state.transmitterEmptyPending = false;
          this.#updateLine();
        }
        return cause | (this.#fifoEnabled ? IIR.FIFO_ENABLED : 0);
      }
      case REGISTER.LCR:
        return state.lcr;
      case REGISTER.MCR:
        return state.mcr;
      case REGISTER.LSR: {
        const lsr = this.#lineStatus();
        state.overrun = false;
        // The errors of the character on top are cleared by reading them; the character stays.
        const [top] = state.receive;
        if (top !== undefined) state.receive[0] = { byte: top.byte, errors: 0 };
        this.#updateLine();
        return lsr;
      }
      case REGISTER.MSR: {
        const { msr } = state;
        state.msr &= MSR.INPUTS;
        this.#updateLine();
        return msr;
      }
      case REGISTER.SCR:
        return state.scr;
      default:
        return 0xff;
    }
  }

  #writeRegister(offset: number, value: number): void {
    const state = this.#state;
    switch (offset) {
      case REGISTER.RBR_THR_DLL:
        if (this.#dlab) state.divisor = (state.divisor & 0xff00) | value;
        else this.#transmit(value);
        return;
      case REGISTER.IER_DLM: {
        if (this.#dlab) {
          state.divisor = (state.divisor & 0xff) | (value << 8);
          return;
        }
        const before = state.ier;
        state.ier = value & IER.ALL;
        // THR is empty already: enabling its interrupt signals it.
        if ((before & IER.THRE) === 0 && (state.ier & IER.THRE) !== 0) state.transmitterEmptyPending = true;
        return this.#updateLine();
      }
      case REGISTER.IIR_FCR:
        return this.#writeFifoControl(value);
      case REGISTER.LCR:
        state.lcr = value;
        return;
      case REGISTER.MCR:
        state.mcr = value & MCR.ALL;
        return this.#updateModemInputs();
      case REGISTER.SCR:
        state.scr = value;
        return;
      // LSR is for factory tests only, MSR is read only.
      default:
        return;
    }
  }

  #readReceiver(): number {
    const state = this.#state;
    const character = state.receive.shift();
    state.characterTimeout = false;
    this.#restartTimeout();
    this.#takeBacklog();
    this.#updateLine();
    return character?.byte ?? 0;
  }

  #transmit(byte: number): void {
    // All eight bits, whatever word length LCR says: guests that rely on a firmware's 8N1 never program it.
    if (this.#loopback) this.receive(byte);
    else {
      this.#out[0] = byte;
      this.#sink.write(this.#out);
    }
    this.#state.transmitterEmptyPending = true;
    this.#updateLine();
  }

  #writeFifoControl(value: number): void {
    const state = this.#state;
    const enable = value & FCR.ENABLE;
    if (enable !== (state.fcr & FCR.ENABLE) || (enable !== 0 && (value & FCR.CLEAR_RECEIVE) !== 0)) {
      state.receive.length = 0;
      state.characterTimeout = false;
    }
    // The other bits are only programmed together with the enable bit; the clear bits clear themselves.
    state.fcr = enable === 0 ? 0 : value & (FCR.ENABLE | FCR.DMA_MODE | FCR.TRIGGER);
    this.#restartTimeout();
    this.#takeBacklog();
    this.#updateLine();
  }

  /** Loopback connects the modem outputs to the inputs; otherwise the other end is ready. */
  #updateModemInputs(): void {
    const state = this.#state;
    const { mcr } = state;
    let inputs: number = MODEM_READY;
    if (this.#loopback) {
      inputs = 0;
      if (mcr & MCR.RTS) inputs |= MSR.CTS;
      if (mcr & MCR.DTR) inputs |= MSR.DSR;
      if (mcr & MCR.OUT1) inputs |= MSR.RI;
      if (mcr & MCR.OUT2) inputs |= MSR.DCD;
    }
    const changed = (state.msr ^ inputs) & MSR.INPUTS;
    let deltas = (changed >> 4) & (MSR.DCTS | MSR.DDSR | MSR.DDCD);
    // Only the trailing edge of RI counts.
    if (changed & MSR.RI && (inputs & MSR.RI) === 0) deltas |= MSR.TERI;
    state.msr = inputs | (state.msr & MSR.DELTAS) | deltas;
    this.#takeBacklog();
    this.#updateLine();
  }

  #lineStatus(): number {
    const { receive, overrun } = this.#state;
    let lsr: number = LSR.THRE | LSR.TEMT;
    const [top] = receive;
    if (top !== undefined) lsr |= LSR.DR | top.errors;
    if (overrun) lsr |= LSR.OE;
    if (this.#fifoEnabled && receive.some(({ errors }) => errors !== 0)) lsr |= LSR.FIFO_ERROR;
    return lsr;
  }

  /** The pending interrupt of the highest priority, as IIR shows it (data sheet, table II). */
  #interruptCause(): number {
    const { ier, receive, characterTimeout, transmitterEmptyPending, msr } = this.#state;
    if (ier & IER.LINE_STATUS && this.#lineStatus() & LSR.ERRORS) return IIR.LINE_STATUS;
    if (ier & IER.RECEIVED_DATA) {
      if (receive.length >= this.#triggerLevel) return IIR.RECEIVED_DATA;
      if (characterTimeout) return IIR.CHARACTER_TIMEOUT;
    }
    if (ier & IER.THRE && transmitterEmptyPending) return IIR.TRANSMITTER_EMPTY;
    if (ier & IER.MODEM_STATUS && msr & MSR.DELTAS) return IIR.MODEM_STATUS;
    return IIR.NONE;
  }

  get #triggerLevel(): number {
    if (!this.#fifoEnabled) return 1;
    return TRIGGER_LEVELS[(this.#state.fcr & FCR.TRIGGER) >> 6] ?? 1;
  }

  #updateLine(): void {
    this.#line?.set(this.#interruptCause() !== IIR.NONE);
  }

  #takeBacklog(): void {
    const state = this.#state;
    // In loopback the receiver hears the transmitter only.
    while (!this.#loopback && state.backlog.length > 0 && state.receive.length < this.#depth) {
      this.receive(state.backlog.shift() ?? 0);
    }
  }

  /** Four character times without an arrival or a read, while characters wait, are a timeout. */
  #restartTimeout(): void {
    const state = this.#state;
    if (!this.#fifoEnabled || state.receive.length === 0) {
      state.characterTimeout = false;
      state.timeoutAt = null;
      this.#timer?.cancel();
    } else if (this.#environment === undefined || this.#timer === undefined) {
      state.characterTimeout = true;
    } else {
      state.timeoutAt = this.#environment.clock.now() + 4 * this.#characterNs();
      this.#timer.arm(state.timeoutAt);
    }
  }

  /** Time of one character on the line, in ns: start, data, parity and stop bits at the programmed rate. */
  #characterNs(): number {
    const { lcr, divisor } = this.#state;
    const bits = 1 + 5 + (lcr & LCR.WORD_LENGTH) + (lcr & LCR.PARITY ? 1 : 0) + (lcr & LCR.STOP ? 2 : 1);
    return Math.round((bits * 16 * (divisor || 0x10000) * 1e9) / CLOCK_HZ);
  }
}
