import { CPUID, CPUID_LEAF } from "@tapvisor/x86-isa";
import { describe, expect, it } from "vitest";
import type { CpuidEntry } from "../../src/contract/index.js";
import { scriptedVcpu } from "../support/scripted.js";

const XSTATE_BV = 512;
const MXCSR = 24;

const xsaveLeaf = (eax: number): CpuidEntry => ({
  function: CPUID_LEAF.XSAVE, index: 0, significantIndex: true, eax, ebx: 0, ecx: 0, edx: 0,
}); // prettier-ignore
const versionLeaf: CpuidEntry = {
  function: CPUID_LEAF.VERSION, index: 0, significantIndex: false, eax: 0, ebx: 0, ecx: 1 << CPUID.XSAVE.bit, edx: 0,
}; // prettier-ignore

describe("KVM_GET_FPU and KVM_SET_FPU", () => {
  it("start with what FNINIT and reset leave, and give back what was set", () => {
    const { vcpu } = scriptedVcpu();
    const image = vcpu.getFpu();
    expect([image.length, image[0], image[1], image[MXCSR], image[MXCSR + 1]]).toEqual([512, 0x7f, 3, 0x80, 0x1f]);
    image.fill(0x5a, 160, 416);
    vcpu.setFpu(image);
    expect(vcpu.getFpu()).toEqual(image);
    expect(() => vcpu.setFpu(image.subarray(1))).toThrow(/EINVAL: .*511 bytes/);
  });
});

describe("KVM_GET_XSAVE and KVM_SET_XSAVE", () => {
  it("hold the same image, with both components in use", () => {
    const { vcpu } = scriptedVcpu();
    const area = vcpu.getXsave();
    expect([area.length, area[XSTATE_BV]]).toEqual([4096, 3]);
    expect(area.subarray(0, 512)).toEqual(vcpu.getFpu());
    area.fill(0x11, 32, 416);
    vcpu.setXsave(area);
    expect(vcpu.getXsave()).toEqual(area);
  });

  it("initialize a component that XSTATE_BV lacks", () => {
    const { vcpu } = scriptedVcpu();
    const area = vcpu.getXsave().fill(0x11, 0, 24).fill(0x11, 32, 416);
    area[XSTATE_BV] = 2;
    vcpu.setXsave(area);
    const x87Initial = vcpu.getFpu();
    expect([x87Initial[0], x87Initial[1], x87Initial[2], x87Initial[32], x87Initial[160]]).toEqual([
      0x7f, 3, 0, 0, 0x11,
    ]);
    area[XSTATE_BV] = 1;
    vcpu.setXsave(area);
    const sseInitial = vcpu.getFpu();
    expect([sseInitial[2], sseInitial[32], sseInitial[160]]).toEqual([0x11, 0x11, 0]);
  });

  it("refuse another size, components that guests may not have, and bits that MXCSR does not have", () => {
    const { vcpu } = scriptedVcpu();
    const area = vcpu.getXsave();
    expect(() => vcpu.setXsave(area.subarray(0, 512))).toThrow(/EINVAL: .*512 bytes/);
    area[XSTATE_BV] = 0x83;
    expect(() => vcpu.setXsave(area)).toThrow(/EINVAL: XSTATE_BV is 0x83/);
    area[XSTATE_BV] = 3;
    area[MXCSR + 2] = 1;
    expect(() => vcpu.setXsave(area)).toThrow(/EINVAL: MXCSR is 0x11f80/);
  });
});

describe("KVM_GET_XCRS and KVM_SET_XCRS", () => {
  it("set XCR0 to what CPUID shows, and no more", () => {
    const { vcpu } = scriptedVcpu();
    expect(vcpu.getXcrs()).toEqual([{ index: 0, value: 1n }]);
    expect(() => vcpu.setXcrs([{ index: 0, value: 3n }])).toThrow(/EINVAL: XCR0 refuses 0x3/);
    vcpu.setCpuid2([versionLeaf, xsaveLeaf(3)]);
    vcpu.setXcrs([{ index: 0, value: 3n }]);
    expect(vcpu.getXcrs()).toEqual([{ index: 0, value: 3n }]);
    expect(() => vcpu.setXcrs([{ index: 0, value: 2n }])).toThrow(/EINVAL/);
    vcpu.setXcrs([{ index: 1, value: 99n }]);
    expect(vcpu.getXcrs()).toEqual([{ index: 0, value: 3n }]);
  });
});
