/** Registers and bits of the UART 16550A, named as in the PC16550D data sheet. */

/** Bytes that it occupies. */
export const UART_SIZE = 8;
/** Crystal of the PC's serial ports, in Hz; 16 cycles make one bit at divisor 1. */
export const CLOCK_HZ = 1_843_200;
export const FIFO_DEPTH = 16;

/** Offsets. Two names or three: what a read, a write, and an access with DLAB reach. */
export const REGISTER = {
  RBR_THR_DLL: 0, IER_DLM: 1, IIR_FCR: 2, LCR: 3, MCR: 4, LSR: 5, MSR: 6, SCR: 7,
} as const; // prettier-ignore

/** Interrupt Enable Register. */
export const IER = { RECEIVED_DATA: 0x01, THRE: 0x02, LINE_STATUS: 0x04, MODEM_STATUS: 0x08, ALL: 0x0f } as const;

/** Interrupt Identification Register, highest priority first. */
export const IIR = {
  LINE_STATUS: 0x06, RECEIVED_DATA: 0x04, CHARACTER_TIMEOUT: 0x0c, TRANSMITTER_EMPTY: 0x02, MODEM_STATUS: 0x00,
  NONE: 0x01, FIFO_ENABLED: 0xc0,
} as const; // prettier-ignore

/** FIFO Control Register. */
export const FCR = { ENABLE: 0x01, CLEAR_RECEIVE: 0x02, CLEAR_TRANSMIT: 0x04, DMA_MODE: 0x08, TRIGGER: 0xc0 } as const;
/** Characters in the receive FIFO that raise an interrupt, by FCR bits 7:6. */
export const TRIGGER_LEVELS = [1, 4, 8, 14] as const;

/** Line Control Register. */
export const LCR = { WORD_LENGTH: 0x03, STOP: 0x04, PARITY: 0x08, DLAB: 0x80 } as const;

/** Modem Control Register. */
export const MCR = { DTR: 0x01, RTS: 0x02, OUT1: 0x04, OUT2: 0x08, LOOP: 0x10, ALL: 0x1f } as const;

/** Line Status Register. */
export const LSR = {
  DR: 0x01, OE: 0x02, PE: 0x04, FE: 0x08, BI: 0x10, THRE: 0x20, TEMT: 0x40, FIFO_ERROR: 0x80, ERRORS: 0x1e,
} as const; // prettier-ignore

/** Modem Status Register: four inputs, and what changed of them since the last read. */
export const MSR = {
  DCTS: 0x01, DDSR: 0x02, TERI: 0x04, DDCD: 0x08, DELTAS: 0x0f, CTS: 0x10, DSR: 0x20, RI: 0x40, DCD: 0x80,
  INPUTS: 0xf0,
} as const; // prettier-ignore
