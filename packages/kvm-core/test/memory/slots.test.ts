import { describe, expect, it } from "vitest";
import { PAGE_SIZE } from "../../src/contract/index.js";
import { tdpFault, tdpKindOf, tdpRoot } from "../../src/mmu/tdp.js";
import { scriptedKvm, scriptedVcpu } from "../support/scripted.js";

const MiB = 1 << 20;
const region = { slot: 0, guestPhysAddr: 0, memorySize: 0x4000, hostAddress: 0x1000 };

function setUp() {
  const scripted = scriptedKvm();
  return { ...scripted, vm: scripted.kvm.createVm() };
}

describe("setUserMemoryRegion refuses", () => {
  it.each([
    ["a slot below 0", { slot: -1 }, /EINVAL: slot is -1: 0 to 508/],
    ["a slot of the backend's", { slot: 509 }, /EINVAL: slot is 509/],
    ["a size that is not whole pages", { memorySize: 0x4001 }, /EINVAL: memorySize is 0x4001: not a multiple of 4096/],
    ["an unaligned guest address", { guestPhysAddr: 0x800 }, /EINVAL: guestPhysAddr is 0x800/],
    ["an unaligned host address", { hostAddress: 0x1010 }, /EINVAL: hostAddress is 0x1010/],
    ["a negative address", { guestPhysAddr: -4096 }, /EINVAL: guestPhysAddr is -4096/],
    ["an address that is no number", { guestPhysAddr: Number.NaN }, /EINVAL/],
    ["an end beyond 52 bits", { guestPhysAddr: 2 ** 52 - 0x1000 }, /EINVAL: .*beyond 52 bits/],
    ["pages that the host has not got", { memorySize: 256 * MiB }, /EINVAL: .*beyond the host's RAM/],
    ["to delete what does not exist", { memorySize: 0 }, /EINVAL: slot 0 does not exist/],
  ])("%s", (_what, change, message) => {
    const { vm } = setUp();
    expect(() => vm.setUserMemoryRegion({ ...region, ...change })).toThrow(message);
    expect(vm.slotOf(0)).toBeUndefined();
  });

  it("an overlap, and leaves the other slot as it was", () => {
    const { vm } = setUp();
    vm.setUserMemoryRegion(region);
    const other = { slot: 1, guestPhysAddr: 0x3000, memorySize: 0x1000, hostAddress: 0x8000 };
    expect(() => vm.setUserMemoryRegion(other)).toThrow(/EEXIST: slot 1 at 0x3000 overlaps slot 0 at 0x0/);
    vm.setUserMemoryRegion({ ...other, guestPhysAddr: 0x4000 });
    expect(() => vm.setUserMemoryRegion({ ...region, guestPhysAddr: 0x1000 })).toThrow(/EEXIST/);
    expect(vm.slotOf(0)?.id).toBe(0);
  });

  it("another size, other pages, or another read-only flag for a slot that exists", () => {
    const { vm } = setUp();
    vm.setUserMemoryRegion(region);
    expect(() => vm.setUserMemoryRegion({ ...region, memorySize: 0x2000 })).toThrow(
      /EINVAL: memorySize.*delete it first/,
    );
    expect(() => vm.setUserMemoryRegion({ ...region, hostAddress: 0x9000 })).toThrow(/EINVAL: hostAddress/);
    expect(() => vm.setUserMemoryRegion({ ...region, flags: { readonly: true } })).toThrow(/EINVAL: flags.readonly/);
  });
});

describe("memory slots", () => {
  it("are found by frame, moved and deleted", () => {
    const { vm } = setUp();
    vm.setUserMemoryRegion(region);
    vm.setUserMemoryRegion({ slot: 5, guestPhysAddr: 4 * MiB, memorySize: 0x1000, hostAddress: 0x8000 });
    expect([0, 3, 4, 1024, 1025].map((gfn) => vm.slotOf(gfn)?.id)).toEqual([0, 0, undefined, 5, undefined]);
    vm.setUserMemoryRegion({ ...region, guestPhysAddr: MiB });
    expect([0, 256].map((gfn) => vm.slotOf(gfn)?.id)).toEqual([undefined, 0]);
    vm.setUserMemoryRegion({ ...region, memorySize: 0 });
    expect(vm.slotOf(256)).toBeUndefined();
  });

  it("are read and written as the guest sees them, across pages", () => {
    const { vm } = setUp();
    vm.setUserMemoryRegion(region);
    vm.setUserMemoryRegion({ slot: 1, guestPhysAddr: 0x4000, memorySize: 0x1000, hostAddress: 0xa000 });
    const bytes = Uint8Array.from({ length: 32 }, (_, i) => i);
    vm.writeGuest(0x4000 - 16, bytes);
    expect(vm.readGuest(0x4000 - 16, 32)).toEqual(bytes);
    expect(() => vm.readGuest(0x5000 - 4, 8)).toThrow(/EFAULT: 8 bytes at 0x4ffc/);
  });

  it("refuse writes where they are read-only", () => {
    const { vm } = setUp();
    vm.setUserMemoryRegion({ ...region, flags: { readonly: true } });
    expect(() => vm.writeGuest(0, Uint8Array.of(1))).toThrow(/EFAULT/);
    expect(vm.readGuest(0, 1)).toEqual(Uint8Array.of(0));
  });

  it("tell plugins of every change", () => {
    const { core, vm } = setUp();
    const seen: unknown[] = [];
    core.attach({
      name: "slots",
      hooks: { memorySlotChanged: ({ change, slot, old }) => void seen.push([change, slot?.baseGfn, old?.baseGfn]) },
    });
    vm.setUserMemoryRegion(region);
    vm.setUserMemoryRegion(region);
    vm.setUserMemoryRegion({ ...region, guestPhysAddr: 0x10000 });
    vm.setUserMemoryRegion({ ...region, memorySize: 0 });
    expect(seen).toEqual([
      ["create", 0, undefined],
      ["move", 16, 0],
      ["delete", undefined, 16],
    ]);
  });
});

describe("dirty logging", () => {
  it("reports a page once per write, and only where it is on", () => {
    const { vm } = setUp();
    vm.setUserMemoryRegion(region);
    expect(() => vm.getDirtyLog(0)).toThrow(/ENOENT/);
    vm.setUserMemoryRegion({ ...region, flags: { logDirtyPages: true } });
    vm.writeGuest(0x2ffe, Uint8Array.of(1, 2, 3, 4));
    expect([...vm.getDirtyLog(0)]).toEqual([0b1100]);
    expect([...vm.getDirtyLog(0)]).toEqual([0]);
    expect(() => vm.getDirtyLog(7)).toThrow(/ENOENT/);
  });

  it("makes the guest's next write to a page fault", () => {
    const { vm, vcpu, kvm, memory } = scriptedVcpu();
    const slot = { slot: 0, guestPhysAddr: 0, memorySize: 16 * PAGE_SIZE, hostAddress: vm.slotOf(0)?.hostAddress ?? 0 };
    tdpFault(vcpu, 3, true);
    const leaf = leafOf(memory, tdpRoot(vm), 3);
    expect(memory.readU32(leaf) & 7).toBe(7);
    vm.setUserMemoryRegion({ ...slot, flags: { logDirtyPages: true } });
    expect(memory.readU32(leaf) & 7).toBe(5);
    expect(kvm.vms[0]?.getDirtyLog(0)[0]).toBe(0);
    expect(tdpFault(vcpu, 3, false)).toBe("retry");
    expect(memory.readU32(leaf) & 7).toBe(5);
    expect(tdpFault(vcpu, 3, true)).toBe("retry");
    expect(memory.readU32(leaf) & 7).toBe(7);
    expect(vm.getDirtyLog(0)[0]).toBe(8);
  });
});

describe("the second-stage table", () => {
  it("maps a frame to its page with the backend's memory type", () => {
    const { vm, vcpu, memory, hostAddress } = scriptedVcpu();
    expect(tdpKindOf(vm, 5)).toBe("absent");
    expect(tdpFault(vcpu, 5, false)).toBe("retry");
    expect(memory.readU64(leafOf(memory, tdpRoot(vm), 5))).toBe(BigInt(hostAddress + 5 * PAGE_SIZE) | 0x37n);
    expect(tdpKindOf(vm, 5)).toBe("memory");
  });

  it("marks what is not memory, until a slot is there", () => {
    const { vm, vcpu, memory } = scriptedVcpu();
    const gfn = 0xfee00;
    expect(tdpFault(vcpu, gfn, true)).toBe("emulate");
    expect(memory.readU64(leafOf(memory, tdpRoot(vm), gfn))).toBe((3n << 62n) | 0xfee00006n);
    expect(tdpKindOf(vm, gfn)).toBe("mmio");
    vm.setUserMemoryRegion({ slot: 1, guestPhysAddr: 0xfee00000, memorySize: 0x1000, hostAddress: 0x1000 });
    expect(tdpKindOf(vm, gfn)).toBe("absent");
  });

  it("gives every page back when a slot goes, and has the root loaded again", () => {
    const { vm, vcpu, memory, script, log } = scriptedVcpu();
    const free = memory.free.size;
    script.push((v) => {
      tdpFault(v, 1, true);
      v.exit = { reason: "hlt" };
      return false;
    });
    vcpu.run();
    expect(memory.free.size).toBe(free - 4);
    vm.setUserMemoryRegion({ slot: 0, guestPhysAddr: 0, memorySize: 0, hostAddress: 0 });
    expect(memory.free.size).toBe(free);
    log.length = 0;
    script.push((v) => {
      v.exit = { reason: "hlt" };
      return false;
    });
    vcpu.run();
    expect(log).toContain("set_tdp_cr3");
  });

  it("emulates a write to a read-only slot", () => {
    const { vm, vcpu } = scriptedVcpu();
    vm.setUserMemoryRegion({
      slot: 1, guestPhysAddr: MiB, memorySize: 0x1000, hostAddress: 0x1000, flags: { readonly: true },
    }); // prettier-ignore
    expect(tdpFault(vcpu, 256, false)).toBe("retry");
    expect(tdpFault(vcpu, 256, true)).toBe("emulate");
  });
});

function leafOf(memory: { readU32(at: number): number }, root: number, gfn: number): number {
  let table = root;
  for (let level = 4; level > 1; level--) {
    table = (memory.readU32(table + (Math.floor(gfn / 512 ** (level - 1)) % 512) * 8) & ~0xfff) >>> 0;
  }
  return table + (gfn % 512) * 8;
}
