import { beforeEach, describe, expect, it } from "vitest";
import { AddressBus } from "../../src/buses/address-bus.js";
import type { Device } from "../../src/contract/index.js";

/** A device that remembers what reached it. */
function probe(name: string, size: number) {
  const accesses: string[] = [];
  const device: Device<null> = {
    name,
    size,
    read(offset, data) {
      accesses.push(`read ${offset} ${data.length}`);
      data.fill(offset);
    },
    write: (offset, data) => void accesses.push(`write ${offset} ${[...data].join()}`),
    saveState: () => null,
    restoreState: () => {},
    reset: () => {},
  };
  return { device, accesses };
}

let bus: AddressBus;
beforeEach(() => {
  bus = new AddressBus(0x10000);
});

describe("what a bus refuses", () => {
  it("a device on another's bytes, naming both and changing nothing", () => {
    const first = probe("uart", 8);
    bus.attach(0x3f8, first.device);
    for (const base of [0x3f1, 0x3f8, 0x3ff]) {
      expect(() => bus.attach(base, probe("other", 8).device)).toThrow(
        expect.objectContaining({
          code: "EEXIST",
          message: expect.stringMatching(/other at 0x3f.*uart at 0x3f8 to 0x3ff/),
        }),
      );
    }
    expect(bus.devices()).toEqual([{ base: 0x3f8, device: first.device, inKernel: false }]);
    bus.attach(0x3f0, probe("below", 8).device);
    bus.attach(0x400, probe("above", 8).device);
  });

  it("a place that is no address, and a device without bytes", () => {
    for (const base of [-1, 1.5, Number.NaN, Number.POSITIVE_INFINITY]) {
      expect(() => bus.attach(base, probe("d", 1).device)).toThrow(expect.objectContaining({ code: "EINVAL" }));
    }
    expect(() => bus.attach(0, probe("d", 0).device)).toThrow(expect.objectContaining({ code: "EINVAL" }));
  });

  it("an access that nobody claims whole", () => {
    const { device, accesses } = probe("d", 4);
    bus.attach(0x10, device);
    for (const [address, length] of [
      [0x0f, 1],
      [0x0f, 2],
      [0x13, 2],
      [0x14, 1],
    ] as const) {
      // prettier-ignore
      const data = new Uint8Array(length).fill(0x55);
      expect(bus.read(address, data)).toBe(false);
      expect(bus.write(address, data)).toBe(false);
      expect([...data]).toEqual(new Array(length).fill(0x55));
    }
    expect(accesses).toEqual([]);
  });
});

it("an access reaches its device at the offset from the device's first byte", () => {
  const one = probe("one", 4);
  const two = probe("two", 4);
  bus.attach(0x14, two.device);
  bus.attach(0x10, one.device);
  expect(bus.write(0x12, Uint8Array.of(7, 8))).toBe(true);
  const data = new Uint8Array(1);
  expect(bus.read(0x17, data)).toBe(true);
  expect(data[0]).toBe(3);
  expect(one.accesses).toEqual(["write 2 7,8"]);
  expect(two.accesses).toEqual(["read 3 1"]);
  expect(bus.devices().map(({ base }) => base)).toEqual([0x10, 0x14]);
});

it("a device that was taken off is not reached, and its place is free", () => {
  const { device, accesses } = probe("d", 4);
  const attached = bus.attach(0x10, device);
  expect(bus.write(0x10, Uint8Array.of(1))).toBe(true);
  attached.dispose();
  attached.dispose();
  expect(bus.write(0x10, Uint8Array.of(2))).toBe(false);
  expect(accesses).toEqual(["write 0 1"]);
  bus.attach(0x12, probe("next", 4).device);
});
