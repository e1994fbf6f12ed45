import { CLOCK_HZ, FCR, FIFO_DEPTH, IER, IIR, LCR, LSR, MCR, MSR, TRIGGER_LEVELS } from "./registers.js";

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

/** The other end is there and ready: CTS, DSR and DCD asserted, no ring. */
const MODEM_READY = MSR.CTS | MSR.DSR | MSR.DCD;

export function powerOnState(): Uart16550State {
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

export const fifoEnabled = ({ fcr }: Uart16550State) => (fcr & FCR.ENABLE) !== 0;
export const depth = (state: Uart16550State) => (fifoEnabled(state) ? FIFO_DEPTH : 1);
export const dlab = ({ lcr }: Uart16550State) => (lcr & LCR.DLAB) !== 0;
export const loopback = ({ mcr }: Uart16550State) => (mcr & MCR.LOOP) !== 0;

export function lineStatus(state: Uart16550State): number {
  const { receive, overrun } = state;
  let lsr: number = LSR.THRE | LSR.TEMT;
  const [top] = receive;
  if (top !== undefined) lsr |= LSR.DR | top.errors;
  if (overrun) lsr |= LSR.OE;
  if (fifoEnabled(state) && receive.some(({ errors }) => errors !== 0)) lsr |= LSR.FIFO_ERROR;
  return lsr;
}

/** The pending interrupt of the highest priority, as IIR shows it (data sheet, table II). */
export function interruptCause(state: Uart16550State): number {
  const { ier, receive, characterTimeout, transmitterEmptyPending, msr } = state;
  if (ier & IER.LINE_STATUS && lineStatus(state) & LSR.ERRORS) return IIR.LINE_STATUS;
  if (ier & IER.RECEIVED_DATA) {
    if (receive.length >= triggerLevel(state)) return IIR.RECEIVED_DATA;
    if (characterTimeout) return IIR.CHARACTER_TIMEOUT;
  }
  if (ier & IER.THRE && transmitterEmptyPending) return IIR.TRANSMITTER_EMPTY;
  if (ier & IER.MODEM_STATUS && msr & MSR.DELTAS) return IIR.MODEM_STATUS;
  return IIR.NONE;
}

function triggerLevel(state: Uart16550State): number {
  if (!fifoEnabled(state)) return 1;
  return TRIGGER_LEVELS[(state.fcr & FCR.TRIGGER) >> 6] ?? 1;
}

/** MSR as the modem inputs make it. Loopback connects the outputs to them; otherwise the other end is ready. */
export function modemStatus(state: Uart16550State): number {
  const { mcr, msr } = state;
  let inputs: number = MODEM_READY;
  if (loopback(state)) {
    inputs = 0;
    if (mcr & MCR.RTS) inputs |= MSR.CTS;
    if (mcr & MCR.DTR) inputs |= MSR.DSR;
    if (mcr & MCR.OUT1) inputs |= MSR.RI;
    if (mcr & MCR.OUT2) inputs |= MSR.DCD;
  }
  const changed = (msr ^ inputs) & MSR.INPUTS;
  let deltas = (changed >> 4) & (MSR.DCTS | MSR.DDSR | MSR.DDCD);
  // Only the trailing edge of RI counts.
  if (changed & MSR.RI && (inputs & MSR.RI) === 0) deltas |= MSR.TERI;
  return inputs | (msr & MSR.DELTAS) | deltas;
}

/** Time of one character on the line, in ns: start, data, parity and stop bits at the programmed rate. */
export function characterNs({ lcr, divisor }: Uart16550State): number {
  const bits = 1 + 5 + (lcr & LCR.WORD_LENGTH) + (lcr & LCR.PARITY ? 1 : 0) + (lcr & LCR.STOP ? 2 : 1);
  return Math.round((bits * 16 * (divisor || 0x10000) * 1e9) / CLOCK_HZ);
}
