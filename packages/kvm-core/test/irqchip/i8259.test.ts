import { describe, expect, it } from "vitest";
import { AddressBus } from "../../src/buses/address-bus.js";
import { I8259Pair } from "../../src/irqchip/i8259-pair.js";

function setUp() {
  const acknowledged: number[] = [];
  let raised = 0;
  const pic = new I8259Pair(
    () => void raised++,
    (input) => void acknowledged.push(input),
  );
  const bus = new AddressBus(0x10000);
  for (const [port, device] of pic.devices()) bus.attachKernel(port, device);
  const out = (port: number, ...values: number[]) => {
    for (const value of values) expect(bus.write(port, Uint8Array.of(value))).toBe(true);
  };
  const into = (port: number) => {
    const data = new Uint8Array(1);
    expect(bus.read(port, data)).toBe(true);
    return data[0];
  };
  out(0x20, 0x11);
  out(0xa0, 0x11);
  out(0x21, 0x20, 0x04, 0x01, 0x00);
  out(0xa1, 0x28, 0x02, 0x01, 0x00);
  return { pic, bus, out, into, acknowledged, raised: () => raised };
}

const pulse = (pic: I8259Pair, input: number) => {
  pic.setIrq(input, true);
  pic.setIrq(input, false);
};

describe("the PICs", () => {
  it("serve the highest priority first, and nothing lower until its end", () => {
    const { pic, out, raised, acknowledged } = setUp();
    pulse(pic, 4);
    pulse(pic, 1);
    expect([pic.output, pic.acknowledge(), pic.output, raised()]).toEqual([true, 0x21, false, 1]);
    pulse(pic, 0);
    expect(pic.acknowledge()).toBe(0x20);
    out(0x20, 0x20);
    expect([pic.output, acknowledged]).toEqual([false, [0]]);
    out(0x20, 0x20);
    expect([pic.acknowledge(), acknowledged]).toEqual([0x24, [0, 1]]);
  });

  it("cascade: the slave's interrupts come at the master's input 2, and need an end at both", () => {
    const { pic, out } = setUp();
    pulse(pic, 12);
    pulse(pic, 3);
    expect(pic.acknowledge()).toBe(0x2c);
    out(0xa0, 0x20);
    expect(pic.output).toBe(false);
    out(0x20, 0x20);
    expect(pic.acknowledge()).toBe(0x23);
  });

  it("hold a masked request back until it is unmasked", () => {
    const { pic, out, into } = setUp();
    out(0x21, 0x10);
    pulse(pic, 4);
    expect([pic.output, into(0x21), into(0x20)]).toEqual([false, 0x10, 0x10]);
    out(0x21, 0x00);
    expect([pic.output, pic.acknowledge()]).toEqual([true, 0x24]);
    // OCW3 chooses the in-service register.
    out(0x20, 0x0b);
    expect(into(0x20)).toBe(0x10);
  });

  it("see an edge once, and a level for as long as it stands", () => {
    const { pic, out, into } = setUp();
    pic.setIrq(5, true);
    pic.acknowledge();
    out(0x20, 0x65);
    expect(pic.output).toBe(false);
    pic.setIrq(5, false);
    out(0x4d0, 0xff);
    pic.setIrq(5, true);
    pic.acknowledge();
    out(0x20, 0x65);
    expect([pic.output, pic.acknowledge()]).toEqual([true, 0x25]);
    // The timer, the keyboard and the cascade are edges whatever is written.
    expect(into(0x4d0)).toBe(0xf8);
  });

  it("answer with the vector of input 7 where the request has gone", () => {
    const { pic } = setUp();
    expect(pic.acknowledge()).toBe(0x27);
  });

  it("rotate priorities, end by themselves in automatic mode, and honour special mask mode", () => {
    const rotated = setUp();
    rotated.out(0x20, 0xc3);
    pulse(rotated.pic, 3);
    pulse(rotated.pic, 4);
    expect(rotated.pic.acknowledge()).toBe(0x24);

    const automatic = setUp();
    automatic.out(0x20, 0x11);
    automatic.out(0x21, 0x20, 0x04, 0x03, 0x00);
    pulse(automatic.pic, 1);
    pulse(automatic.pic, 6);
    expect([automatic.pic.acknowledge(), automatic.pic.acknowledge()]).toEqual([0x21, 0x26]);
    expect(automatic.acknowledged).toEqual([1, 6]);

    const special = setUp();
    pulse(special.pic, 1);
    special.pic.acknowledge();
    pulse(special.pic, 6);
    expect(special.pic.output).toBe(false);
    special.out(0x21, 0x02);
    special.out(0x20, 0x68);
    expect(special.pic.output).toBe(true);
  });

  it("answer a poll with the input, as an acknowledge", () => {
    const { pic, out, into } = setUp();
    out(0x20, 0x0c);
    expect(into(0x20)).toBe(0);
    pulse(pic, 3);
    out(0x20, 0x0c);
    expect([into(0x20), pic.output]).toEqual([0x83, false]);
  });

  it("leave other ports alone, and keep their state apart", () => {
    const { pic, bus } = setUp();
    expect([bus.write(0x22, Uint8Array.of(0)), bus.write(0x21, Uint8Array.of(0, 0))]).toEqual([false, false]);
    pulse(pic, 12);
    const other = new I8259Pair(
      () => {},
      () => {},
    );
    other.setState(pic.getState());
    expect([pic.acknowledge(), other.output, other.acknowledge()]).toEqual([0x2c, true, 0x2c]);
  });
});
