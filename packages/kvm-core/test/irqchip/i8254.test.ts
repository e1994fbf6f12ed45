import { describe, expect, it } from "vitest";
import { AddressBus } from "../../src/buses/address-bus.js";
import { I8254 } from "../../src/irqchip/i8254.js";

const TICK = 1_000_000_000 / 1_193_182;

function setUp() {
  let now = 0;
  let deadline: number | undefined;
  let interrupts = 0;
  let fire = () => {};
  const pit = new I8254({
    now: () => now,
    createTimer: (_name, callback) => {
      fire = callback;
      return {
        get deadline() {
          return deadline;
        },
        arm: (ns) => void (deadline = ns),
        cancel: () => void (deadline = undefined),
      };
    },
    setIrq: (level) => void (interrupts += level ? 1 : 0),
  });
  const advance = (ns: number) => {
    const end = now + ns;
    while (deadline !== undefined && deadline <= end) {
      now = deadline;
      deadline = undefined;
      fire();
    }
    now = end;
  };
  const bus = new AddressBus(0x10000);
  for (const [port, device] of pit.devices()) bus.attachKernel(port, device);
  const out = (port: number, ...values: number[]) => {
    for (const value of values) expect(bus.write(port, Uint8Array.of(value))).toBe(true);
  };
  const into = (port: number) => {
    const data = new Uint8Array(1);
    expect(bus.read(port, data)).toBe(true);
    return data[0] ?? -1;
  };
  return { pit, out, into, advance, interrupts: () => interrupts, deadline: () => deadline };
}

describe("the 8254", () => {
  it("does not tick before it is programmed", () => {
    const { advance, interrupts, deadline } = setUp();
    advance(10e9);
    expect([interrupts(), deadline()]).toEqual([0, undefined]);
  });

  it("ticks 18.2 times a second for a count of 0 in mode 2, as far as the guest takes them", () => {
    const { pit, out, advance, interrupts } = setUp();
    out(0x43, 0x34);
    out(0x40, 0, 0);
    advance(54_925_401);
    expect(interrupts()).toBe(1);
    advance(54_925_401 * 3);
    // Not taken: the three that came since are owed.
    expect(interrupts()).toBe(1);
    for (let i = 0; i < 5; i++) pit.irqAcknowledged();
    expect(interrupts()).toBe(4);
  });

  it("ticks once in mode 0", () => {
    const { pit, out, advance, interrupts, into } = setUp();
    out(0x43, 0x30);
    out(0x40, 0x00, 0x10);
    advance(4095 * TICK);
    expect(interrupts()).toBe(0);
    // Read-back of the status: OUT is low, both bytes, mode 0.
    out(0x43, 0xe2);
    expect(into(0x40)).toBe(0x30);
    advance(2 * TICK);
    out(0x43, 0xe2);
    expect([interrupts(), into(0x40)]).toEqual([1, 0xb0]);
    pit.irqAcknowledged();
    advance(1e9);
    expect(interrupts()).toBe(1);
  });

  it("counts down, and holds a latched count until both bytes are read", () => {
    const { out, into, advance } = setUp();
    out(0x43, 0xb4);
    out(0x42, 0x00, 0x80);
    advance(0x1234 * TICK + 1);
    out(0x43, 0x80);
    advance(100 * TICK);
    expect([into(0x42), into(0x42)]).toEqual([(0x8000 - 0x1234) & 0xff, (0x8000 - 0x1234) >> 8]);
    expect([into(0x42), into(0x42)]).toEqual([(0x8000 - 0x1234 - 100) & 0xff, (0x8000 - 0x1234 - 100) >> 8]);
  });

  it("shows counter 2, its gate and the refresh clock at port 0x61", () => {
    const { out, into, advance } = setUp();
    out(0x43, 0xb0);
    out(0x61, 0x01);
    out(0x42, 0x10, 0x00);
    expect(into(0x61)).toBe(0x01);
    advance(17 * TICK);
    expect(into(0x61) & 0x20).toBe(0x20);
    const refresh = into(0x61) & 0x10;
    advance(2 ** 14);
    expect(into(0x61) & 0x10).not.toBe(refresh);
  });

  it("goes on from its saved state, to the nanosecond", () => {
    const first = setUp();
    first.out(0x43, 0x34);
    first.out(0x40, 0x00, 0x20);
    first.advance(1000);
    const saved = JSON.parse(JSON.stringify(first.pit.getState())) as ReturnType<typeof first.pit.getState>;
    const second = setUp();
    second.pit.setState(saved);
    expect(second.deadline()).toBe(first.deadline());
    second.advance(first.deadline() ?? 0);
    expect(second.interrupts()).toBe(1);
  });
});
