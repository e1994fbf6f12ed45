import { CR0, CR4, CpuState, EFER, PAGE_FAULT, RFLAGS, slot, type SlotName } from "@tapvisor/x86-isa";
import { beforeEach, describe, expect, it } from "vitest";
import { Ram } from "../../src/memory/ram.js";
import {
  ACCESS_FETCH,
  ACCESS_READ,
  ACCESS_WRITE,
  IDENTITY,
  PRIVILEGE_IMPLICIT,
  PRIVILEGE_SUPERVISOR,
  PRIVILEGE_USER,
  Pager,
  type AccessKind,
  type Privilege,
} from "../../src/paging/index.js";

const P = 1n;
const W = 2n;
const U = 4n;
const A = 0x20n;
const D = 0x40n;
const PS = 0x80n;
const G = 0x100n;
const XD = 1n << 63n;

describe("Pager", () => {
  let ram: Ram;
  let state: CpuState;
  let pager: Pager;

  const set = (field: SlotName, value: bigint): void => state.set64(slot(field), value);
  const configure = (cr0: bigint, cr4: bigint, efer: bigint, cr3: bigint): void => {
    set("cr0", cr0);
    set("cr4", cr4);
    set("efer", efer);
    set("cr3", cr3);
    pager.reload();
  };
  const at = (linear: bigint, kind: AccessKind = ACCESS_READ, privilege: Privilege = PRIVILEGE_SUPERVISOR): number =>
    pager.translate(Number(linear & 0xffff_ffffn) | 0, Number((linear >> 32n) & 0xffff_ffffn) | 0, kind, privilege);
  const faultAt = (linear: bigint, kind?: AccessKind, privilege?: Privilege): number => {
    expect(at(linear, kind, privilege)).toBe(-1);
    return pager.faultCode;
  };

  beforeEach(() => {
    ram = new Ram(new ArrayBuffer(1 << 20), 0, 1 << 20);
    state = new CpuState();
    pager = new Pager(state, ram, { physicalAddressBits: 40, page1Gb: true }, IDENTITY);
  });

  it("maps linear addresses to themselves without paging", () => {
    configure(CR0.PE, 0n, 0n, 0n);
    expect(at(0xfee0_0020n)).toBe(0xfee0_0020);
  });

  describe("4-level", () => {
    const LINEAR = 0xffff_8080_4030_2123n;
    const entries = [0x1000 + 0x101 * 8, 0x2000 + 1 * 8, 0x3000 + 1 * 8, 0x4000 + 0x102 * 8];
    const build = (bits: readonly [bigint, bigint, bigint, bigint], cr4 = 0n): void => {
      const next = [0x2000n, 0x3000n, 0x4000n, 0x5000n];
      entries.forEach((entry, i) => ram.writeU64(entry, (next[i] ?? 0n) | (bits[i] ?? 0n)));
      configure(CR0.PE | CR0.PG | CR0.WP, CR4.PAE | cr4, EFER.LME | EFER.LMA | EFER.NXE, 0x1000n);
    };
    const ALL = P | W | U;

    it("faults without P at each level that is not present", () => {
      for (let level = 0; level < 4; level++) {
        build([ALL, ALL, ALL, ALL]);
        ram.writeU64(entries[level] ?? 0, 0n);
        expect(faultAt(LINEAR, ACCESS_WRITE, PRIVILEGE_USER)).toBe(PAGE_FAULT.W | PAGE_FAULT.U);
      }
    });

    it("faults with RSVD for address bits beyond MAXPHYADDR, for PS in a PML4E and for XD without NXE", () => {
      build([ALL, ALL, ALL | (1n << 40n), ALL]);
      expect(faultAt(LINEAR)).toBe(PAGE_FAULT.P | PAGE_FAULT.RSVD);
      build([ALL | PS, ALL, ALL, ALL]);
      expect(faultAt(LINEAR)).toBe(PAGE_FAULT.P | PAGE_FAULT.RSVD);
      build([ALL, ALL, ALL, ALL | XD]);
      configure(CR0.PE | CR0.PG, CR4.PAE, EFER.LME | EFER.LMA, 0x1000n);
      expect(faultAt(LINEAR)).toBe(PAGE_FAULT.P | PAGE_FAULT.RSVD);
    });

    it("denies what any level denies", () => {
      for (let level = 0; level < 4; level++) {
        const bits: [bigint, bigint, bigint, bigint] = [ALL, ALL, ALL, ALL];
        bits[level] = P | U;
        build(bits);
        expect(faultAt(LINEAR, ACCESS_WRITE)).toBe(PAGE_FAULT.P | PAGE_FAULT.W);
        bits[level] = P | W;
        build(bits);
        expect(faultAt(LINEAR, ACCESS_READ, PRIVILEGE_USER)).toBe(PAGE_FAULT.P | PAGE_FAULT.U);
        bits[level] = ALL | XD;
        build(bits);
        expect(faultAt(LINEAR, ACCESS_FETCH)).toBe(PAGE_FAULT.P | PAGE_FAULT.I);
      }
    });

    it("lets a supervisor write to read-only pages only while CR0.WP is clear", () => {
      build([ALL, ALL, ALL, P | U]);
      expect(faultAt(LINEAR, ACCESS_WRITE)).toBe(PAGE_FAULT.P | PAGE_FAULT.W);
      set("cr0", CR0.PE | CR0.PG);
      pager.reload();
      expect(at(LINEAR, ACCESS_WRITE)).toBe(0x5123);
      expect(faultAt(LINEAR, ACCESS_WRITE, PRIVILEGE_USER)).toBe(PAGE_FAULT.P | PAGE_FAULT.W | PAGE_FAULT.U);
    });

    it("keeps a supervisor from user pages by SMEP and SMAP, AC helping explicit accesses alone", () => {
      build([ALL, ALL, ALL, ALL], CR4.SMEP | CR4.SMAP);
      expect(faultAt(LINEAR, ACCESS_FETCH)).toBe(PAGE_FAULT.P | PAGE_FAULT.I);
      expect(faultAt(LINEAR, ACCESS_READ)).toBe(PAGE_FAULT.P);
      state.rflags = 2n | RFLAGS.AC;
      expect(at(LINEAR, ACCESS_READ)).toBe(0x5123);
      expect(faultAt(LINEAR, ACCESS_READ, PRIVILEGE_IMPLICIT)).toBe(PAGE_FAULT.P);
      expect(at(LINEAR, ACCESS_READ, PRIVILEGE_USER)).toBe(0x5123);
    });

    it("sets accessed flags at every level and dirty at the leaf on a write, and none on a fault", () => {
      build([ALL, ALL, ALL, P | U]);
      faultAt(LINEAR, ACCESS_WRITE);
      expect(entries.map((entry) => ram.readU64(entry) & (A | D))).toEqual([0n, 0n, 0n, 0n]);
      build([ALL, ALL, ALL, ALL]);
      at(LINEAR);
      expect(entries.map((entry) => ram.readU64(entry) & (A | D))).toEqual([A, A, A, A]);
      at(LINEAR, ACCESS_WRITE);
      expect(entries.map((entry) => ram.readU64(entry) & (A | D))).toEqual([A, A, A, A | D]);
    });

    it("maps 2 MiB and 1 GiB pages, with their reserved bits", () => {
      build([ALL, ALL, ALL | PS, 0n]);
      ram.writeU64(entries[2] ?? 0, 0x20_0000n | ALL | PS);
      expect(at(LINEAR)).toBe(0x20_0000 + 0x10_2123);
      expect(pager.pageBytes).toBe(1 << 21);
      ram.writeU64(entries[2] ?? 0, 0x20_2000n | ALL | PS);
      expect(faultAt(LINEAR)).toBe(PAGE_FAULT.P | PAGE_FAULT.RSVD);
      ram.writeU64(entries[1] ?? 0, (3n << 30n) | ALL | PS);
      expect(at(LINEAR)).toBe(3 * 2 ** 30 + 0x30_2123);
      ram.writeU64(entries[1] ?? 0, (3n << 30n) | 0x2000_0000n | ALL | PS);
      expect(faultAt(LINEAR)).toBe(PAGE_FAULT.P | PAGE_FAULT.RSVD);
    });

    it("reports global pages only with CR4.PGE", () => {
      build([ALL, ALL, ALL, ALL | G]);
      at(LINEAR);
      expect(pager.global).toBe(false);
      build([ALL, ALL, ALL, ALL | G], CR4.PGE);
      at(LINEAR);
      expect(pager.global).toBe(true);
    });
  });

  describe("PAE", () => {
    it("takes PDPTEs from the registers, not from memory", () => {
      configure(CR0.PE | CR0.PG, CR4.PAE, 0n, 0x1000n);
      expect(faultAt(0x4000_0000n)).toBe(0);
      set("pdpte1", 0x2000n | P);
      ram.writeU64(0x2000, 0x3000n | P | W | U);
      ram.writeU64(0x3008, 0x7000n | P | W | U);
      expect(at(0x4000_1abcn)).toBe(0x7abc);
      expect(faultAt(0x4000_2000n, ACCESS_FETCH)).toBe(0);
    });

    it("has bits 62:52 reserved", () => {
      configure(CR0.PE | CR0.PG, CR4.PAE, EFER.NXE, 0n);
      set("pdpte0", 0x2000n | P);
      ram.writeU64(0x2000, 0x3000n | P | (1n << 52n));
      expect(faultAt(0n)).toBe(PAGE_FAULT.P | PAGE_FAULT.RSVD);
    });
  });

  describe("32-bit", () => {
    it("maps 4 KiB and, with CR4.PSE, 4 MiB pages with PSE-36", () => {
      configure(CR0.PE | CR0.PG, 0n, 0n, 0x1000n);
      ram.writeU32(0x1004, 0x2000 | 7);
      ram.writeU32(0x2004, 0x9000 | 7);
      expect(at(0x40_1234n)).toBe(0x9234);
      ram.writeU32(0x1008, 0x80_0000 | (1 << 13) | 0x87);
      configure(CR0.PE | CR0.PG, CR4.PSE, 0n, 0x1000n);
      expect(at(0x80_1234n)).toBe(2 ** 32 + 0x80_1234);
      ram.writeU32(0x1008, 0x80_0000 | (1 << 21) | 0x87);
      expect(faultAt(0x80_1234n)).toBe(PAGE_FAULT.P | PAGE_FAULT.RSVD);
    });

    it("does not report instruction fetches in the error code", () => {
      configure(CR0.PE | CR0.PG, 0n, EFER.NXE, 0x1000n);
      expect(faultAt(0x40_0000n, ACCESS_FETCH, PRIVILEGE_USER)).toBe(PAGE_FAULT.U);
    });
  });
});
