import { describe, expect, it } from "vitest";
import { ACCESS_FETCH, ACCESS_READ, ACCESS_WRITE, TLB_BYTES, TLB_ENTRIES, Tlb } from "../../src/paging/index.js";

const PAGE = 0x1000;
const MIB_2 = 2 ** 21;
const RAM_BASE = 0x10000;

function tlb(): Tlb {
  const made = new Tlb(new ArrayBuffer(TLB_BYTES + 16), 16, RAM_BASE);
  made.select(1, 0, 0, 0, 0);
  return made;
}

describe("Tlb", () => {
  it("finds what was filled for the same page, kind and privilege alone", () => {
    const t = tlb();
    t.fill(0x12345000, 0x7f, ACCESS_READ, false, 0x8000, false, PAGE);
    expect(t.lookup(0x12345fff, 0x7f, ACCESS_READ, false)).toBe(0x8000);
    expect(t.lookup(0x12345fff, 0x7e, ACCESS_READ, false)).toBe(-1);
    expect(t.lookup(0x12346000, 0x7f, ACCESS_READ, false)).toBe(-1);
    expect(t.lookup(0x12345000, 0x7f, ACCESS_WRITE, false)).toBe(-1);
    expect(t.lookup(0x12345000, 0x7f, ACCESS_READ, true)).toBe(-1);
  });

  it("has nothing of linear page 0 to begin with", () => {
    expect(tlb().lookup(0, 0, ACCESS_READ, false)).toBe(-1);
  });

  it("drops each large page by itself, in any order", () => {
    const t = tlb();
    for (let n = 0; n < 4; n++) {
      t.fill(n * MIB_2, 0, ACCESS_READ, false, n * PAGE, false, MIB_2);
      t.fill(n * MIB_2 + PAGE, 0, ACCESS_READ, false, n * PAGE, false, MIB_2);
    }
    const known = (n: number): boolean[] =>
      [0, PAGE].map((offset) => t.lookup(n * MIB_2 + offset, 0, ACCESS_READ, false) >= 0);
    t.flushPage(3 * MIB_2 + 0x1f_f000, 0, { vpid: 1 });
    expect([0, 1, 2, 3].map(known)).toEqual([
      [true, true],
      [true, true],
      [true, true],
      [false, false],
    ]);
    t.flushPage(MIB_2 + 0x5000, 0, { vpid: 1 });
    expect([0, 1, 2, 3].map(known)).toEqual([
      [true, true],
      [false, false],
      [true, true],
      [false, false],
    ]);
    t.fill(MIB_2, 0, ACCESS_READ, false, PAGE, false, MIB_2);
    t.flushPage(MIB_2 + 0x5000, 0, { vpid: 1 });
    expect(known(1)).toEqual([false, false]);
  });

  it("keeps the entries of more address spaces than one, and forgets the one unused for longest", () => {
    const t = tlb();
    for (let pcid = 0; pcid < 9; pcid++) {
      t.select(1, 0, 0, pcid, 0);
      t.fill(PAGE, 0, ACCESS_READ, false, pcid * PAGE, false, PAGE);
    }
    for (let pcid = 8; pcid > 0; pcid--) {
      t.select(1, 0, 0, pcid, 0);
      expect(t.lookup(PAGE, 0, ACCESS_READ, false)).toBe(pcid * PAGE);
    }
    t.select(1, 0, 0, 0, 0);
    expect(t.lookup(PAGE, 0, ACCESS_READ, false)).toBe(-1);
  });

  it("keeps globals beyond what its list of fills holds", () => {
    const t = tlb();
    for (let n = 0; n < 4000; n++) t.fill(n * PAGE, 0, ACCESS_READ, false, n * PAGE, n % 2 === 0, PAGE);
    for (let round = 0; round < 2; round++) {
      t.flush({ vpid: 1, keepGlobal: true });
      for (let n = 0; n < 4000; n++) {
        expect(t.lookup(n * PAGE, 0, ACCESS_READ, false)).toBe(n % 2 === 0 ? n * PAGE : -1);
      }
    }
    t.flush({ vpid: 1 });
    for (let n = 0; n < 4000; n++) expect(t.lookup(n * PAGE, 0, ACCESS_READ, false)).toBe(-1);
  });

  it("changes the generation of the privilege whose code was dropped", () => {
    const t = tlb();
    t.fill(0, 0, ACCESS_FETCH, false, 0, true, PAGE);
    t.fill(PAGE, 0, ACCESS_FETCH, true, PAGE, false, PAGE);
    const before = [t.generation(false), t.generation(true)];
    t.flush({ vpid: 1, keepGlobal: true });
    expect(t.generation(false)).toBe(before[0]);
    expect(t.generation(true)).not.toBe(before[1]);
    // Another page in the place of one is a translation dropped.
    t.fill(TLB_ENTRIES * PAGE, 0, ACCESS_FETCH, false, 0, true, PAGE);
    expect(t.generation(false)).not.toBe(before[0]);
  });

  it("drops writes to a page that has become code, in every address space", () => {
    const t = tlb();
    t.fill(0, 0, ACCESS_WRITE, false, 0x5000, false, PAGE);
    t.fill(PAGE, 0, ACCESS_READ, false, 0x5000, false, PAGE);
    t.select(2, 0, 0, 0, 0);
    t.fill(0, 0, ACCESS_WRITE, true, 0x5000, false, PAGE);
    t.flushWritesTo(0x5000);
    expect(t.lookup(0, 0, ACCESS_WRITE, true)).toBe(-1);
    t.select(1, 0, 0, 0, 0);
    expect(t.lookup(0, 0, ACCESS_WRITE, false)).toBe(-1);
    expect(t.lookup(PAGE, 0, ACCESS_READ, false)).toBe(0x5000);
  });
});
