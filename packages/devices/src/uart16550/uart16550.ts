import {
  defineDevice, type ByteSink, type DeviceContext, type DeviceEnvironment, type IrqLine,
} from "@tapvisor/kvm-core/contract"; // prettier-ignore
import { FCR, IER, IIR, MCR, MSR, REGISTER, UART_SIZE } from "./registers.js";
import {
  characterNs, depth, dlab, fifoEnabled, interruptCause, lineStatus, loopback, modemStatus, powerOnState,
  type Uart16550State,
} from "./state.js"; // prettier-ignore

export interface Uart16550Context {
  /** Where transmitted characters go. */
  readonly sink: ByteSink;
  /** INTRPT. The PC's gate by OUT2 belongs to the board, not to the chip. */
  readonly line: IrqLine;
  /** For the character timeout. */
  readonly environment: Pick<DeviceEnvironment, "clock" | "timers">;
}

export interface Uart16550Actions {
  /** Characters from the other end, which waits while the receiver is full: none is lost. */
  send(bytes: Iterable<number>): void;
  /**
   * One character arrives now, whether there is room or not.
   *
   * @param errors PE, FE or BI of LSR, in their places there
   */
  receive(byte: number, errors?: number): void;
  /** An arriving character would raise an interrupt: somebody waits for one. */
  wantsInput(): boolean;
}

type Context = DeviceContext<Uart16550Context, "character timeout">;

/**
 * The UART 16550A (National Semiconductor PC16550D data sheet): transmitter, receiver with FIFOs, interrupts in their
 * priority, modem control and loopback. A transmitted character leaves at once, so the transmitter is always empty;
 * a reader that polls LSR sees what the slowest guest would see.
 */
export const uart16550 = defineDevice<Uart16550State, Uart16550Context, "character timeout", Uart16550Actions>({
  name: "uart16550",
  size: UART_SIZE,
  initialState: powerOnState,
  read(state, offset, data, context) {
    for (let i = 0; i < data.length; i++) data[i] = readRegister(state, offset + i, context);
  },
  write(state, offset, data, context) {
    for (const [i, value] of data.entries()) writeRegister(state, offset + i, value, context);
  },
  timers: {
    "character timeout"(state, context) {
      state.timeoutAt = null;
      state.characterTimeout = state.receive.length > 0;
      updateLine(state, context);
    },
  },
  /** A master reset leaves the scratch register, the divisor latch and the modem inputs alone (data sheet, table I). */
  reset(state) {
    const { scr, divisor, msr, backlog } = state;
    Object.assign(state, powerOnState(), { scr, divisor, msr: msr & MSR.INPUTS, backlog });
  },
  stateChanged(state, context) {
    const timeout = context.timers["character timeout"];
    if (state.timeoutAt === null) timeout.cancel();
    else timeout.arm(state.timeoutAt);
    updateLine(state, context);
  },
  actions: {
    send(state, context, bytes) {
      for (const byte of bytes) state.backlog.push(byte & 0xff);
      takeBacklog(state, context);
    },
    receive,
    wantsInput: ({ ier }) => (ier & IER.RECEIVED_DATA) !== 0,
  },
});

function readRegister(state: Uart16550State, offset: number, context: Context): number {
  switch (offset) {
    case REGISTER.RBR_THR_DLL:
      return dlab(state) ? state.divisor & 0xff : readReceiver(state, context);
    case REGISTER.IER_DLM:
      return dlab(state) ? state.divisor >> 8 : state.ier;
    case REGISTER.IIR_FCR: {
      const cause = interruptCause(state);
      if (cause === IIR.TRANSMITTER_EMPTY) {
        state.transmitterEmptyPending = false;
        updateLine(state, context);
      }
      return cause | (fifoEnabled(state) ? IIR.FIFO_ENABLED : 0);
    }
    case REGISTER.LCR:
      return state.lcr;
    case REGISTER.MCR:
      return state.mcr;
    case REGISTER.LSR: {
      const lsr = lineStatus(state);
      state.overrun = false;
      // The errors of the character on top are cleared by reading them; the character stays.
      const [top] = state.receive;
      if (top !== undefined) state.receive[0] = { byte: top.byte, errors: 0 };
      updateLine(state, context);
      return lsr;
    }
    case REGISTER.MSR: {
      const { msr } = state;
      state.msr &= MSR.INPUTS;
      updateLine(state, context);
      return msr;
    }
    case REGISTER.SCR:
      return state.scr;
    default:
      return 0xff;
  }
}

function writeRegister(state: Uart16550State, offset: number, value: number, context: Context): void {
  switch (offset) {
    case REGISTER.RBR_THR_DLL:
      if (dlab(state)) state.divisor = (state.divisor & 0xff00) | value;
      else transmit(state, value, context);
      return;
    case REGISTER.IER_DLM: {
      if (dlab(state)) {
        state.divisor = (state.divisor & 0xff) | (value << 8);
        return;
      }
      const before = state.ier;
      state.ier = value & IER.ALL;
      // THR is empty already: enabling its interrupt signals it.
      if ((before & IER.THRE) === 0 && (state.ier & IER.THRE) !== 0) state.transmitterEmptyPending = true;
      return updateLine(state, context);
    }
    case REGISTER.IIR_FCR:
      return writeFifoControl(state, value, context);
    case REGISTER.LCR:
      state.lcr = value;
      return;
    case REGISTER.MCR:
      state.mcr = value & MCR.ALL;
      state.msr = modemStatus(state);
      takeBacklog(state, context);
      return updateLine(state, context);
    case REGISTER.SCR:
      state.scr = value;
      return;
    // LSR is for factory tests only, MSR is read only.
    default:
      return;
  }
}

function receive(state: Uart16550State, context: Context, byte: number, errors = 0): void {
  if (state.receive.length >= depth(state)) {
    state.overrun = true;
    // Without FIFOs the newer character replaces the older; with them it is lost in the shift register.
    if (fifoEnabled(state)) return updateLine(state, context);
    state.receive.length = 0;
  }
  state.receive.push({ byte: byte & 0xff, errors });
  restartTimeout(state, context);
  updateLine(state, context);
}

function readReceiver(state: Uart16550State, context: Context): number {
  const character = state.receive.shift();
  state.characterTimeout = false;
  restartTimeout(state, context);
  takeBacklog(state, context);
  updateLine(state, context);
  return character?.byte ?? 0;
}

function transmit(state: Uart16550State, byte: number, context: Context): void {
  // All eight bits, whatever word length LCR says: guests that rely on a firmware's 8N1 never program it.
  if (loopback(state)) receive(state, context, byte);
  else context.sink.write(Uint8Array.of(byte));
  state.transmitterEmptyPending = true;
  updateLine(state, context);
}

function writeFifoControl(state: Uart16550State, value: number, context: Context): void {
  const enable = value & FCR.ENABLE;
  if (enable !== (state.fcr & FCR.ENABLE) || (enable !== 0 && (value & FCR.CLEAR_RECEIVE) !== 0)) {
    state.receive.length = 0;
    state.characterTimeout = false;
  }
  // The other bits are only programmed together with the enable bit; the clear bits clear themselves.
  state.fcr = enable === 0 ? 0 : value & (FCR.ENABLE | FCR.DMA_MODE | FCR.TRIGGER);
  restartTimeout(state, context);
  takeBacklog(state, context);
  updateLine(state, context);
}

function takeBacklog(state: Uart16550State, context: Context): void {
  // In loopback the receiver hears the transmitter only.
  while (!loopback(state) && state.backlog.length > 0 && state.receive.length < depth(state)) {
    receive(state, context, state.backlog.shift() ?? 0);
  }
}

/** Four character times without an arrival or a read, while characters wait, are a timeout. */
function restartTimeout(state: Uart16550State, { environment, timers }: Context): void {
  const timeout = timers["character timeout"];
  if (!fifoEnabled(state) || state.receive.length === 0) {
    state.characterTimeout = false;
    state.timeoutAt = null;
    timeout.cancel();
  } else {
    state.timeoutAt = environment.clock.now() + 4 * characterNs(state);
    timeout.arm(state.timeoutAt);
  }
}

function updateLine(state: Uart16550State, { line }: Context): void {
  line.set(interruptCause(state) !== IIR.NONE);
}
