import { describe, expect, it } from "vitest";
import { Ram } from "../../src/memory/ram.js";

const PAGE = 4096;
const make = (pages: number): Ram => new Ram(new ArrayBuffer((pages + 1) * PAGE), PAGE, pages * PAGE);

describe("Ram", () => {
  it("refuses accesses outside itself, into the memory around it too", () => {
    const ram = make(4);
    expect(() => ram.readU8(4 * PAGE)).toThrow(RangeError);
    expect(() => ram.readU8(-1)).toThrow(RangeError);
    expect(() => ram.writeU64(4 * PAGE - 4, 0n)).toThrow(RangeError);
    expect(() => ram.readWord(4 * PAGE)).toThrow(RangeError);
    expect(() => ram.view(PAGE, 4 * PAGE)).toThrow(/outside the 16384 bytes/);
  });

  it("says ENOMEM when no run of pages is long enough", () => {
    const ram = make(8);
    expect(() => ram.allocatePages(8)).toThrow(expect.objectContaining({ code: "ENOMEM", errno: -12 }));
    const first = ram.allocatePages(3);
    const second = ram.allocatePages(4);
    ram.freePages(first, 3);
    expect(() => ram.allocatePages(4)).toThrow(/3 of the host's RAM are free/);
    ram.freePages(second, 4);
    expect(ram.allocatePages(7)).toBe(PAGE);
  });

  it("aligns what is as large as a large page to its size, where there is room for that", () => {
    const LARGE = 512 * PAGE;
    const ram = make(3 * 512);
    ram.allocatePage();
    const first = ram.allocatePages(512);
    expect(first).toBe(LARGE);
    expect(ram.allocatePages(300)).toBe(2 * LARGE);
    expect(make(520).allocatePages(512)).toBe(PAGE);
  });

  it("refuses to free what is free", () => {
    const ram = make(4);
    const page = ram.allocatePage();
    ram.freePages(page, 1);
    expect(() => ram.freePages(page, 1)).toThrow(/is free/);
    expect(() => ram.freePages(0, 1)).toThrow(/not pages/);
    expect(() => ram.freePages(123, 1)).toThrow(/not pages/);
  });

  it("hands out zeroed pages, never page 0", () => {
    const ram = make(2);
    const page = ram.allocatePage();
    expect(page).not.toBe(0);
    ram.writeU32(page + 8, 0xdeadbeef);
    ram.freePages(page, 1);
    expect(ram.allocatePage()).toBe(page);
    expect(ram.readU32(page + 8)).toBe(0);
  });

  it("tells of writes to pages that hold code, and of no others", () => {
    const ram = make(4);
    const seen: [number, number][] = [];
    ram.onCodeWrite((address, length) => seen.push([address, length]));
    ram.codePages[2] = 1;
    ram.writeU8(PAGE, 1);
    ram.writeU16(2 * PAGE - 1, 1);
    ram.written(0, 3 * PAGE);
    expect(seen).toEqual([
      [2 * PAGE - 1, 2],
      [0, 3 * PAGE],
    ]);
  });
});
