import { beforeEach, describe, expect, it } from "vitest";
import { uart16550 } from "../src/index.js";
import { FCR, IER, IIR, LCR, LSR, MCR, MSR, REGISTER } from "../src/uart16550/registers.js";
import { environment } from "./support.js";

let sent: number[];
let level: boolean;
let uart: ReturnType<typeof uart16550>;

const read = (offset: number) => {
  const data = new Uint8Array(1);
  uart.read(offset, data);
  return data[0];
};
const write = (offset: number, value: number) => uart.write(offset, Uint8Array.of(value));
const identify = () => (read(REGISTER.IIR_FCR) ?? 0) & 0x0f;
const sink = { write: (bytes: Uint8Array) => void sent.push(...bytes) };
const line = { set: (value: boolean) => void (level = value) };

beforeEach(() => {
  sent = [];
  level = false;
  uart = uart16550({ sink, line, environment: environment().environment });
});

describe("what the UART refuses or ignores", () => {
  it("an access past its eight registers reads all ones and writes nothing", () => {
    const data = new Uint8Array(2);
    uart.read(7, data);
    expect([...data]).toEqual([0, 0xff]);
    uart.write(7, Uint8Array.of(0x55, 0xaa));
    expect(read(REGISTER.SCR)).toBe(0x55);
    expect(sent).toEqual([]);
  });

  it("writes to LSR and MSR change nothing", () => {
    const before = [read(REGISTER.LSR), read(REGISTER.MSR)];
    write(REGISTER.LSR, 0x1f);
    write(REGISTER.MSR, 0x0f);
    expect([read(REGISTER.LSR), read(REGISTER.MSR)]).toEqual(before);
  });

  it("bits 7:4 of IER and 7:5 of MCR stay clear", () => {
    write(REGISTER.IER_DLM, 0xff);
    write(REGISTER.MCR, 0xff);
    expect(read(REGISTER.IER_DLM)).toBe(0x0f);
    expect(read(REGISTER.MCR)).toBe(0x1f);
  });

  it("FCR bits without the enable bit are not programmed", () => {
    write(REGISTER.IIR_FCR, FCR.TRIGGER | FCR.DMA_MODE);
    expect((read(REGISTER.IIR_FCR) ?? 0) & IIR.FIFO_ENABLED).toBe(0);
    uart.receive(1);
    write(REGISTER.IER_DLM, IER.RECEIVED_DATA);
    expect(identify()).toBe(IIR.RECEIVED_DATA);
  });
});

describe("reset state (data sheet, table I)", () => {
  it("is transmitter empty, no interrupt, all registers clear", () => {
    expect(read(REGISTER.IER_DLM)).toBe(0);
    expect(read(REGISTER.IIR_FCR)).toBe(IIR.NONE);
    expect(read(REGISTER.LCR)).toBe(0);
    expect(read(REGISTER.MCR)).toBe(0);
    expect(read(REGISTER.LSR)).toBe(LSR.THRE | LSR.TEMT);
    expect(level).toBe(false);
  });

  it("keeps the scratch register and the divisor over a reset", () => {
    write(REGISTER.SCR, 0x5a);
    write(REGISTER.LCR, LCR.DLAB);
    write(REGISTER.RBR_THR_DLL, 0x34);
    write(REGISTER.IER_DLM, 0x12);
    uart.reset();
    expect(read(REGISTER.SCR)).toBe(0x5a);
    write(REGISTER.LCR, LCR.DLAB);
    expect([read(REGISTER.RBR_THR_DLL), read(REGISTER.IER_DLM)]).toEqual([0x34, 0x12]);
  });
});

describe("transmitter", () => {
  it("sends each byte once, and not while DLAB is set", () => {
    write(REGISTER.RBR_THR_DLL, 0x41);
    write(REGISTER.LCR, LCR.DLAB);
    write(REGISTER.RBR_THR_DLL, 0x42);
    write(REGISTER.LCR, 3);
    write(REGISTER.RBR_THR_DLL, 0x43);
    expect(sent).toEqual([0x41, 0x43]);
  });

  it("sends whole bytes to a guest that never programmed the word length", () => {
    write(REGISTER.RBR_THR_DLL, 0xff);
    expect(sent).toEqual([0xff]);
  });

  it("signals that it is empty once, cleared by reading IIR", () => {
    write(REGISTER.IER_DLM, IER.THRE);
    expect(level).toBe(true);
    expect(identify()).toBe(IIR.TRANSMITTER_EMPTY);
    expect(level).toBe(false);
    expect(identify()).toBe(IIR.NONE);
    write(REGISTER.RBR_THR_DLL, 0x41);
    expect(level).toBe(true);
    expect(identify()).toBe(IIR.TRANSMITTER_EMPTY);
  });

  it("a 16-bit access reaches two registers, as on an 8-bit ISA bus", () => {
    write(REGISTER.LCR, LCR.DLAB);
    uart.write(0, Uint8Array.of(0x0c, 0x01));
    expect([read(0), read(1)]).toEqual([0x0c, 0x01]);
  });
});

describe("receiver", () => {
  it("without FIFOs, a second character replaces the first and sets OE until LSR is read", () => {
    uart.receive(0x41);
    uart.receive(0x42);
    expect(read(REGISTER.LSR)).toBe(LSR.DR | LSR.OE | LSR.THRE | LSR.TEMT);
    expect(read(REGISTER.LSR)).toBe(LSR.DR | LSR.THRE | LSR.TEMT);
    expect(read(REGISTER.RBR_THR_DLL)).toBe(0x42);
    expect(read(REGISTER.LSR)).toBe(LSR.THRE | LSR.TEMT);
  });

  it("with FIFOs, the 17th character is lost and the sixteen stay", () => {
    write(REGISTER.IIR_FCR, FCR.ENABLE);
    for (let i = 0; i < 17; i++) uart.receive(i);
    expect((read(REGISTER.LSR) ?? 0) & LSR.OE).toBe(LSR.OE);
    const got = Array.from({ length: 16 }, () => read(REGISTER.RBR_THR_DLL));
    expect(got).toEqual(Array.from({ length: 16 }, (_, i) => i));
    expect((read(REGISTER.LSR) ?? 0) & LSR.DR).toBe(0);
  });

  it("a sender that waits loses nothing", () => {
    const text = Array.from({ length: 40 }, (_, i) => i + 0x30);
    uart.send(text);
    const got: (number | undefined)[] = [];
    while ((read(REGISTER.LSR) ?? 0) & LSR.DR) got.push(read(REGISTER.RBR_THR_DLL));
    expect(got).toEqual(text);
  });

  it("signals at the trigger level, and goes quiet below it", () => {
    write(REGISTER.IIR_FCR, FCR.ENABLE | 0x40);
    write(REGISTER.IER_DLM, IER.RECEIVED_DATA);
    for (let i = 0; i < 4; i++) uart.receive(i);
    expect(identify()).toBe(IIR.RECEIVED_DATA);
    read(REGISTER.RBR_THR_DLL);
    expect(identify()).not.toBe(IIR.RECEIVED_DATA);
  });

  it("changing the FIFO enable bit drops what was received", () => {
    write(REGISTER.IIR_FCR, FCR.ENABLE);
    uart.receive(1);
    write(REGISTER.IIR_FCR, 0);
    expect((read(REGISTER.LSR) ?? 0) & LSR.DR).toBe(0);
  });

  it("keeps a framing error with its character, and shows it when that is on top", () => {
    write(REGISTER.IIR_FCR, FCR.ENABLE);
    uart.receive(0x41);
    uart.receive(0x42, LSR.FE);
    expect(read(REGISTER.LSR)).toBe(LSR.DR | LSR.THRE | LSR.TEMT | LSR.FIFO_ERROR);
    read(REGISTER.RBR_THR_DLL);
    expect(read(REGISTER.LSR)).toBe(LSR.DR | LSR.FE | LSR.THRE | LSR.TEMT | LSR.FIFO_ERROR);
    expect(read(REGISTER.LSR)).toBe(LSR.DR | LSR.THRE | LSR.TEMT);
    expect(read(REGISTER.RBR_THR_DLL)).toBe(0x42);
  });
});

describe("character timeout", () => {
  it("comes after four character times, not before, and ends with a read", () => {
    const time = environment();
    uart = uart16550({ sink, line, environment: time.environment });
    write(REGISTER.LCR, LCR.DLAB);
    uart.write(0, Uint8Array.of(1, 0));
    write(REGISTER.LCR, 3);
    write(REGISTER.IIR_FCR, FCR.ENABLE | 0xc0);
    write(REGISTER.IER_DLM, IER.RECEIVED_DATA);
    uart.receive(0x41);
    // 10 bits at 115,200 baud: 86.8 us a character.
    time.advance(4 * 86_805 - 10);
    expect(level).toBe(false);
    time.advance(20);
    expect(level).toBe(true);
    expect(identify()).toBe(IIR.CHARACTER_TIMEOUT);
    expect(read(REGISTER.RBR_THR_DLL)).toBe(0x41);
    expect(level).toBe(false);
  });
});

describe("interrupt priority (data sheet, table II)", () => {
  it("is line status, received data, transmitter empty, modem status", () => {
    write(REGISTER.MCR, MCR.LOOP);
    write(REGISTER.IER_DLM, IER.ALL);
    write(REGISTER.MCR, MCR.LOOP | MCR.RTS);
    uart.receive(0x41, LSR.PE);
    const order: (number | undefined)[] = [identify()];
    read(REGISTER.LSR);
    order.push(identify());
    read(REGISTER.RBR_THR_DLL);
    order.push(identify(), identify());
    read(REGISTER.MSR);
    order.push(identify());
    expect(order).toEqual([
      IIR.LINE_STATUS, IIR.RECEIVED_DATA, IIR.TRANSMITTER_EMPTY, IIR.MODEM_STATUS, IIR.NONE,
    ]); // prettier-ignore
    expect(level).toBe(false);
  });
});

describe("loopback", () => {
  it("hears itself, and nothing leaves", () => {
    write(REGISTER.LCR, 3);
    write(REGISTER.MCR, MCR.LOOP);
    write(REGISTER.RBR_THR_DLL, 0xae);
    expect(read(REGISTER.RBR_THR_DLL)).toBe(0xae);
    expect(sent).toEqual([]);
  });

  it("connects RTS, DTR, OUT1 and OUT2 to CTS, DSR, RI and DCD, with deltas", () => {
    write(REGISTER.MCR, MCR.LOOP);
    read(REGISTER.MSR);
    write(REGISTER.MCR, MCR.LOOP | MCR.RTS | MCR.OUT1);
    expect(read(REGISTER.MSR)).toBe(MSR.CTS | MSR.RI | MSR.DCTS);
    expect(read(REGISTER.MSR)).toBe(MSR.CTS | MSR.RI);
    write(REGISTER.MCR, MCR.LOOP | MCR.DTR | MCR.OUT2);
    expect(read(REGISTER.MSR)).toBe(MSR.DSR | MSR.DCD | MSR.DCTS | MSR.DDSR | MSR.TERI | MSR.DDCD);
  });
});

describe("state", () => {
  it("is plain data, and a second chip goes on from it", () => {
    write(REGISTER.IIR_FCR, FCR.ENABLE | 0x80);
    write(REGISTER.IER_DLM, IER.ALL);
    uart.send(Array.from({ length: 20 }, (_, i) => i));
    const saved = uart.saveState();
    const registers = () => Array.from({ length: 8 }, (_, i) => read(i));
    const expected = [registers(), registers(), level];
    uart = uart16550({ sink, line, environment: environment().environment });
    level = false;
    uart.restoreState(saved);
    expect(level).toBe(true);
    expect([registers(), registers(), level]).toEqual(expected);
  });

  it("does not change after it was saved", () => {
    const saved = uart.saveState();
    uart.send([1]);
    expect(saved.receive).toEqual([]);
  });
});
