import { MSR } from "@tapvisor/x86-isa";
import { describe, expect, it } from "vitest";
import { PAGE_SIZE, REQUEST } from "../../src/contract/index.js";
import { tdpFault, tdpKindOf, tdpRoot, unmapFrame } from "../../src/mmu/tdp.js";
import { scriptedVcpu } from "../support/scripted.js";

const FRAMES = 512;
const LARGE_BYTES = FRAMES * PAGE_SIZE;
/** First frame of the slot that large pages may map. */
const BASE = FRAMES;
/** Leaf flags: write-back, read and execute; and what is added to them. */
const READ = 0x35n;
const WRITE = 2n;
const LARGE = 0x80n;

/** A VM with 4 MiB at 2 MiB, backed by pages of the same alignment unless `shift` moves them. */
function guest({ lpageLevel = 2, shift = 0, pages = 2 * FRAMES } = {}) {
  const scripted = scriptedVcpu({ pages: 8 * FRAMES, change: (ops) => void (ops.get_lpage_level = () => lpageLevel) });
  const { vm, vcpu, memory } = scripted;
  const hostAddress = 2 * LARGE_BYTES + shift * PAGE_SIZE;
  const region = { slot: 1, guestPhysAddr: BASE * PAGE_SIZE, memorySize: pages * PAGE_SIZE, hostAddress };
  for (let page = 2 * FRAMES; page < 8 * FRAMES; page++) memory.free.delete(page);
  vm.setUserMemoryRegion(region);
  vcpu.arch.requests = 0;
  /** The entry that maps a frame, and how many frames it maps. */
  const leaf = (gfn: number): [bigint, number] | undefined => {
    let table = tdpRoot(vm);
    for (let level = 4; level >= 1; level--) {
      const entry = memory.readU64(table + (Math.floor(gfn / FRAMES ** (level - 1)) % FRAMES) * 8);
      if ((entry & 7n) === 0n) return undefined;
      if (level === 1 || (entry & LARGE) !== 0n) return [entry, FRAMES ** (level - 1)];
      table = Number(entry & 0xffffffff000n);
    }
    return undefined;
  };
  const log = (on: boolean): void => vm.setUserMemoryRegion({ ...region, flags: { logDirtyPages: on } });
  const flushed = (): boolean => {
    const was = (vcpu.arch.requests & (1 << REQUEST.TLB_FLUSH)) !== 0;
    vcpu.arch.requests = 0;
    return was;
  };
  return { ...scripted, hostAddress, leaf, log, flushed };
}

describe("large pages of the second stage", () => {
  it("map 2 MiB at once where slot and backing are aligned to it", () => {
    const { vm, vcpu, hostAddress, leaf } = guest();
    expect(tdpFault(vcpu, BASE + 5, false)).toBe("retry");
    expect(leaf(BASE + 300)).toEqual([BigInt(hostAddress) | READ | WRITE | LARGE, FRAMES]);
    expect(leaf(BASE + FRAMES)).toBeUndefined();
    expect(tdpKindOf(vm, BASE + 511)).toBe("memory");
  });

  it("are none where the backing lies otherwise, the slot ends, or the backend has none", () => {
    for (const setup of [guest({ shift: 1 }), guest({ pages: FRAMES - 1 }), guest({ lpageLevel: 1 })]) {
      tdpFault(setup.vcpu, BASE + 5, false);
      expect(setup.leaf(BASE + 5)?.[1]).toBe(1);
      expect(setup.leaf(BASE + 6)).toBeUndefined();
    }
  });

  it("are none for the whole VM where the processor has no 2-MiB entries", () => {
    const { vcpu, kvm, leaf } = guest();
    kvm.largePagesEnabled = false;
    tdpFault(vcpu, BASE + 5, false);
    expect(leaf(BASE + 5)?.[1]).toBe(1);
  });

  it("are none where the guest's MTRRs give their frames different types", () => {
    const { vcpu, leaf } = guest();
    const WB_4K_AT_2M = 0x200006n;
    vcpu.arch.msrs.set(MSR.IA32_MTRR_DEF_TYPE, 0x800n);
    vcpu.arch.msrs.set(MSR.IA32_MTRR_PHYSBASE0, WB_4K_AT_2M);
    vcpu.arch.msrs.set(MSR.IA32_MTRR_PHYSMASK0, 0x7f_ffff_f800n);
    tdpFault(vcpu, BASE + 5, false);
    expect(leaf(BASE + 5)?.[1]).toBe(1);
    tdpFault(vcpu, BASE + FRAMES, false);
    expect(leaf(BASE + FRAMES)?.[1]).toBe(FRAMES);
  });

  it("go whole when a frame of theirs is unmapped, and come back", () => {
    const { vm, vcpu, leaf, flushed } = guest();
    tdpFault(vcpu, BASE, false);
    unmapFrame(vm, BASE + 77);
    expect(leaf(BASE)).toBeUndefined();
    expect(flushed()).toBe(true);
    tdpFault(vcpu, BASE, false);
    expect(leaf(BASE)?.[1]).toBe(FRAMES);
  });

  it("replace a table that is there already, which is given back", () => {
    const { vcpu, kvm, memory, leaf, flushed } = guest();
    kvm.largePagesEnabled = false;
    tdpFault(vcpu, BASE, false);
    const free = memory.free.size;
    kvm.largePagesEnabled = true;
    tdpFault(vcpu, BASE + 1, false);
    expect(leaf(BASE)?.[1]).toBe(FRAMES);
    expect(memory.free.size).toBe(free + 1);
    expect(flushed()).toBe(true);
  });
});

describe("dirty logging under large pages", () => {
  it("takes the write permission of a large page, and maps by 4 KiB from the next write on", () => {
    const { vm, vcpu, hostAddress, leaf, log, flushed } = guest();
    tdpFault(vcpu, BASE, true);
    log(true);
    expect(leaf(BASE)).toEqual([BigInt(hostAddress) | READ | LARGE, FRAMES]);
    expect(flushed()).toBe(true);
    tdpFault(vcpu, BASE + 3, true);
    expect(flushed()).toBe(true);
    expect(leaf(BASE + 3)).toEqual([BigInt(hostAddress + 3 * PAGE_SIZE) | READ | WRITE, 1]);
    expect(leaf(BASE + 4)).toBeUndefined();
    const dirty = vm.getDirtyLog(1);
    expect([dirty[0], dirty.reduce((a, b) => a | b)]).toEqual([8, 8]);
    expect(leaf(BASE + 3)?.[0]).toBe(BigInt(hostAddress + 3 * PAGE_SIZE) | READ);
  });

  it("has large pages again when it ends", () => {
    const { vcpu, leaf, log, flushed } = guest();
    log(true);
    tdpFault(vcpu, BASE + 3, true);
    expect(leaf(BASE + 3)?.[1]).toBe(1);
    log(false);
    expect(leaf(BASE + 3)).toBeUndefined();
    expect(flushed()).toBe(true);
    tdpFault(vcpu, BASE + 3, true);
    expect(leaf(BASE + 3)?.[1]).toBe(FRAMES);
  });
});
