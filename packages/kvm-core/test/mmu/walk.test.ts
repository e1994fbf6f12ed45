import { CR0, CR4, EFER, PAGE_FAULT, RFLAGS } from "@tapvisor/x86-isa";
import { describe, expect, it } from "vitest";
import { REG } from "../../src/contract/index.js";
import { loadPdptrs } from "../../src/mmu/pdptrs.js";
import { type GuestAccess, isFault, translate } from "../../src/mmu/walk.js";
import { scriptedVcpu } from "../support/scripted.js";

const READ: GuestAccess = { write: false, user: false, fetch: false, implicit: false };
const WRITE = { ...READ, write: true };
const USER = { ...READ, user: true };
const FETCH = { ...READ, fetch: true };
const { P, W, U, RSVD, I } = PAGE_FAULT;

type Mode = "32-bit" | "PAE" | "4-level";

/** A vCPU with paging on; tables from 0x4000 upwards. */
function paged(mode: Mode) {
  const scripted = scriptedVcpu();
  const { vcpu, memory, hostAddress } = scripted;
  const { arch } = vcpu;
  arch.cr0 |= CR0.PE | CR0.PG | CR0.WP;
  arch.cr4 = mode === "32-bit" ? CR4.PSE : CR4.PAE;
  arch.efer = mode === "4-level" ? EFER.LME | EFER.LMA | EFER.NXE : mode === "PAE" ? EFER.NXE : 0n;
  arch.cr3 = 0x4000n;
  arch.regsAvail |= 1 << REG.CR3;
  const entry = (at: number, value: bigint): void => {
    if (mode === "32-bit") memory.writeU32(hostAddress + at, Number(value));
    else memory.writeU64(hostAddress + at, value);
  };
  const entryAt = (at: number): bigint =>
    mode === "32-bit" ? BigInt(memory.readU32(hostAddress + at)) : memory.readU64(hostAddress + at);
  const go = (linear: bigint, access: GuestAccess = READ): number | { error: number } => {
    const result = translate(vcpu, linear, access);
    return isFault(result) ? { error: result.errorCode } : result.address;
  };
  return { ...scripted, entry, entryAt, go };
}

/** Map linear page 0x1000 to frame 0x9 by three levels below the root with the rights of `leaf`. */
function fourLevels(leaf: bigint) {
  const guest = paged("4-level");
  guest.entry(0x4000, 0x5007n);
  guest.entry(0x5000, 0x6007n);
  guest.entry(0x6000, 0x7007n);
  guest.entry(0x7008, 0x9000n | leaf);
  return guest;
}

describe("translation without paging", () => {
  it("is the address itself, of 32 bits", () => {
    const { vcpu } = scriptedVcpu();
    expect(translate(vcpu, 0x1_2345_6789n, READ)).toMatchObject({ address: 0x23456789, writable: true });
  });
});

describe("4-level translation", () => {
  it("walks to a page, and sets accessed and dirty bits as the processor does", () => {
    const { go, entryAt } = fourLevels(7n);
    expect(go(0x1abcn)).toBe(0x9abc);
    expect(entryAt(0x4000)).toBe(0x5027n);
    expect(entryAt(0x7008)).toBe(0x9027n);
    expect(go(0x1abcn, WRITE)).toBe(0x9abc);
    expect(entryAt(0x7008)).toBe(0x9067n);
    expect(entryAt(0x6000)).toBe(0x7027n);
  });

  it("leaves the bits alone for an access that faults, and for the host's own look", () => {
    const { go, entryAt, vcpu } = fourLevels(5n);
    expect(go(0x1000n, WRITE)).toEqual({ error: P | W });
    expect(vcpu.translate(0x1000n)).toMatchObject({ physical: 0x9000, writable: false, usermode: true });
    expect(entryAt(0x7008)).toBe(0x9005n);
  });

  it.each([
    ["a page that is not present", 6n, READ, 0],
    ["a write of a program to one", 6n, { ...WRITE, user: true }, W | U],
    ["a program's access to the supervisor's page", 3n, USER, P | U],
    ["a supervisor's write to a read-only page, with CR0.WP", 5n, WRITE, P | W],
    ["a fetch from a page without execution", 7n | (1n << 63n), FETCH, P | I],
    ["a reserved physical-address bit", 7n | (1n << 45n), READ, P | RSVD],
  ])("faults on %s", (_what, leaf, access, error) => {
    expect(fourLevels(leaf).go(0x1000n, access)).toEqual({ error });
  });

  it("lets the supervisor write to a read-only page without CR0.WP", () => {
    const guest = fourLevels(5n);
    guest.vcpu.arch.cr0 &= ~CR0.WP;
    expect(guest.go(0x1000n, WRITE)).toBe(0x9000);
  });

  it("reserves the NX bit without EFER.NXE", () => {
    const guest = fourLevels(7n | (1n << 63n));
    guest.vcpu.arch.efer &= ~EFER.NXE;
    expect(guest.go(0x1000n)).toEqual({ error: P | RSVD });
  });

  it("keeps the supervisor from fetching a program's page by SMEP", () => {
    const guest = fourLevels(7n);
    expect(guest.go(0x1000n, FETCH)).toBe(0x9000);
    guest.vcpu.arch.cr4 |= CR4.SMEP;
    expect(guest.go(0x1000n, FETCH)).toEqual({ error: P | I });
    expect(guest.go(0x1000n, { ...FETCH, user: true })).toBe(0x9000);
  });

  it("keeps the supervisor from a program's data by SMAP, but for EFLAGS.AC", () => {
    const guest = fourLevels(7n);
    guest.vcpu.arch.cr4 |= CR4.SMAP;
    expect(guest.go(0x1000n)).toEqual({ error: P });
    guest.stateOf(guest.vcpu).rflags |= RFLAGS.AC;
    expect(guest.go(0x1000n)).toBe(0x9000);
    expect(guest.go(0x1000n, { ...READ, implicit: true })).toEqual({ error: P });
    expect(guest.go(0x1000n, USER)).toBe(0x9000);
  });

  it("finds large pages, with their own reserved bits", () => {
    const guest = paged("4-level");
    guest.entry(0x4000, 0x5007n);
    guest.entry(0x5000, 0x6007n);
    guest.entry(0x6000, 0x40_0087n);
    expect(guest.go(0x12_3456n)).toBe(0x52_3456);
    guest.entry(0x6000, 0x40_2087n);
    expect(guest.go(0x1000n)).toEqual({ error: P | RSVD });
    guest.entry(0x5000, 0x4000_0087n);
    expect(guest.go(0x1000n)).toEqual({ error: P | RSVD });
    guest.entry(0x4000, 0x5087n);
    expect(guest.go(0x1000n)).toEqual({ error: P | RSVD });
  });

  it("faults where a table is not memory", () => {
    const guest = paged("4-level");
    guest.entry(0x4000, 0x7000_0007n);
    expect(guest.go(0x1000n)).toEqual({ error: 0 });
  });
});

describe("32-bit translation", () => {
  it("walks two levels, and finds 4-MiB pages with CR4.PSE, by PSE-36 above 4 GiB", () => {
    const guest = paged("32-bit");
    guest.entry(0x4000, 0x5007n);
    guest.entry(0x5004, 0x9007n);
    expect(guest.go(0x1234n)).toBe(0x9234);
    guest.entry(0x4004, 0x80_0087n | (1n << 13n));
    expect(guest.go(0x41_2345n)).toBe(0x1_0081_2345);
    guest.vcpu.arch.cr4 = 0n;
    expect(guest.go(0x41_2345n)).toEqual({ error: 0 });
  });
});

describe("PAE translation", () => {
  it("starts at the PDPTEs that were loaded with CR3", () => {
    const guest = paged("PAE");
    guest.entry(0x4000, 0x5001n);
    guest.entry(0x4018, 0x6001n);
    guest.entry(0x5000, 0x7007n);
    guest.entry(0x7008, 0x9007n);
    guest.entry(0x6000, 0x20_0087n);
    expect(loadPdptrs(guest.vcpu, 0x4000n)).toBe(true);
    expect(guest.go(0x1234n)).toBe(0x9234);
    expect(guest.go(0xc000_1234n)).toBe(0x20_1234);
    expect(guest.go(0x4000_0000n)).toEqual({ error: 0 });
    guest.entry(0x4000, 0x8001n);
    expect(guest.go(0x1234n)).toBe(0x9234);
  });

  it("refuses PDPTEs with reserved bits, and keeps the old ones", () => {
    const guest = paged("PAE");
    guest.entry(0x4000, 0x5001n);
    expect(loadPdptrs(guest.vcpu, 0x4000n)).toBe(true);
    guest.entry(0x4000, 0x6003n);
    expect(loadPdptrs(guest.vcpu, 0x4000n)).toBe(false);
    expect(guest.vcpu.arch.mmu.pdptrs[0]).toBe(0x5001n);
    expect(loadPdptrs(guest.vcpu, 0x7000_0000n)).toBe(false);
  });
});
