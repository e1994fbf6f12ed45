import { describe, expect, it } from "vitest";
import { deviceMemory, flushPage, irqLines, testLatch } from "../src/index.js";

const read = (device: { read(offset: number, data: Uint8Array): void }, offset: number, count: number) => {
  const data = new Uint8Array(count).fill(0xee);
  device.read(offset, data);
  return [...data];
};

describe("pc-testdev", () => {
  it("the latch keeps each of its four bytes, whatever the widths of the accesses", () => {
    const latch = testLatch();
    latch.write(0, Uint8Array.of(1, 2, 3, 4));
    latch.write(1, Uint8Array.of(9));
    latch.write(2, Uint8Array.of(7, 8));
    expect([read(latch, 0, 4), read(latch, 1, 1), read(latch, 2, 2)]).toEqual([[1, 9, 7, 8], [9], [7, 8]]);
    const other = testLatch();
    other.restoreState(latch.saveState());
    latch.reset();
    expect([read(latch, 0, 4), read(other, 0, 4)]).toEqual([
      [0, 0, 0, 0],
      [1, 9, 7, 8],
    ]);
  });

  it("a write of four bytes to the flush port unmaps that page; narrower ones do nothing", () => {
    const pages: number[] = [];
    const port = flushPage({ unmapPage: (address) => void pages.push(address) });
    port.write(0, Uint8Array.of(0, 0x10));
    port.write(2, Uint8Array.of(0, 0x10));
    port.write(0, Uint8Array.of(0, 0x10, 0, 0xf0));
    expect(pages).toEqual([0xf000_1000]);
  });

  it("each port of the lines drives the input of its number, and a restore drives them all", () => {
    const levels = new Map<number, boolean>();
    const lines = irqLines({ irq: (gsi) => ({ set: (level) => void levels.set(gsi, level) }) });
    const up = () => [...levels].filter(([, level]) => level).map(([gsi]) => gsi);
    lines.write(14, Uint8Array.of(1));
    lines.write(15, Uint8Array.of(0, 0, 0, 2));
    lines.write(14, Uint8Array.of(0));
    lines.write(23, Uint8Array.of(1));
    expect(up()).toEqual([15, 23]);
    const saved = lines.saveState();
    lines.reset();
    expect(up()).toEqual([]);
    lines.restoreState(saved);
    expect(up()).toEqual([15, 23]);
  });

  it("the memory keeps bytes up to its end, and its state is no larger than what was written", () => {
    const memory = deviceMemory();
    memory.write(0xfff8, Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8));
    memory.write(0x10, Uint8Array.of(0, 9));
    expect([read(memory, 0xfffe, 2), read(memory, 0x10, 2)]).toEqual([
      [7, 8],
      [0, 9],
    ]);
    const saved = memory.saveState();
    expect(Object.keys(saved.bytes).length).toBe(9);
    memory.reset();
    expect(read(memory, 0xfff8, 8)).toEqual([0, 0, 0, 0, 0, 0, 0, 0]);
    memory.restoreState(saved);
    expect(read(memory, 0xfff8, 8)).toEqual([1, 2, 3, 4, 5, 6, 7, 8]);
  });
});
