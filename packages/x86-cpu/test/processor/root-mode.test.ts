import { CPUID, CPUID_LEAF, CR4, MSR, slot } from "@tapvisor/x86-isa";
import { describe, expect, it } from "vitest";
import {
  EPYC,
  HOST_TIMER_VECTOR,
  HostGeneralProtection,
  PROFILES,
  SKYLAKE_SERVER,
  createHost,
  profileNamed,
  type Processor,
  type ProcessorProfile,
} from "../../src/index.js";

function boot(profile: ProcessorProfile = SKYLAKE_SERVER, processors = 1): Processor {
  const cpu = createHost({ profile, ramBytes: 1 << 20, processors }).processors[0];
  if (cpu === undefined) throw new Error("a host has a processor");
  return cpu;
}

const text = (...words: number[]): string =>
  words.map((word) => String.fromCharCode(...[0, 8, 16, 24].map((shift) => (word >>> shift) & 0xff))).join("");

describe("profiles", () => {
  it("names what there is when one does not exist", () => {
    expect(() => profileNamed("80486")).toThrow(/no processor profile "80486"; there are: skylake-server, epyc,/);
  });

  it("have names of their own and a brand that fits", () => {
    expect(new Set(PROFILES.map(({ name }) => name)).size).toBe(PROFILES.length);
    for (const { brand } of PROFILES) expect(brand.length).toBeLessThanOrEqual(48);
  });

  it.each(PROFILES)("$name shows what it has, and nothing of what is not implemented", (profile) => {
    const cpu = boot(profile);
    for (const name of profile.features) {
      const { leaf, subleaf, register, bit } = CPUID[name];
      expect((cpu.cpuid(leaf, subleaf)[register] >>> bit) & 1).toBe(1);
    }
    for (const name of ["SSE4A", "SHA", "AVX", "XSAVES", "PKU", "LA57"] as const) {
      const { leaf, subleaf, register, bit } = CPUID[name];
      expect([name, (cpu.cpuid(leaf, subleaf)[register] >>> bit) & 1]).toEqual([name, 0]);
    }
  });

  it("name their vendor", () => {
    const intel = boot().cpuid(0, 0);
    expect(text(intel.ebx, intel.edx, intel.ecx)).toBe("GenuineIntel");
    const amd = boot(EPYC).cpuid(0x80000000, 0);
    expect(text(amd.ebx, amd.edx, amd.ecx)).toBe("AuthenticAMD");
    expect(boot(EPYC).cpuid(CPUID_LEAF.SVM, 0).ebx).toBe(32768);
  });

  it("encode family, model and stepping as the manuals do", () => {
    expect(boot().cpuid(1, 0).eax).toBe(0x50654);
    expect(boot(EPYC).cpuid(1, 0).eax).toBe(0x800f12);
  });
});

describe("CPUID", () => {
  it("shows the x87 and SSE components of XCR0, and an area that ends with its header", () => {
    const cpu = boot();
    expect(cpu.readXcr0()).toBe(3n);
    expect(cpu.cpuid(0xd, 0)).toEqual({ eax: 3, ebx: 576, ecx: 576, edx: 0 });
    expect(cpu.cpuid(0xd, 1)).toEqual({ eax: 7, ebx: 576, ecx: 0, edx: 0 });
    expect(cpu.cpuid(0xd, 2)).toEqual({ eax: 0, ebx: 0, ecx: 0, edx: 0 });
  });

  it("repeats AMD's older features in the extended leaf", () => {
    const cpu = boot(EPYC);
    expect(cpu.cpuid(0x80000001, 0).edx & 0x0183f3ff).toBe(cpu.cpuid(1, 0).edx & 0x0183f3ff);
  });

  it("answers past the highest basic leaf as at it, and nothing for a subleaf that is not there", () => {
    const cpu = boot();
    const highest = cpu.cpuid(0, 0).eax;
    expect(cpu.cpuid(0x7fff, 0)).toEqual(cpu.cpuid(highest, 0));
    expect(cpu.cpuid(7, 5)).toEqual({ eax: 0, ebx: 0, ecx: 0, edx: 0 });
    // A leaf without subleaves ignores ECX.
    expect(cpu.cpuid(1, 9)).toEqual(cpu.cpuid(1, 0));
  });

  it("ends the topology with an invalid level that echoes its number", () => {
    const cpu = boot(SKYLAKE_SERVER, 4);
    expect(cpu.cpuid(0xb, 1)).toEqual({ eax: 2, ebx: 4, ecx: 0x201, edx: 0 });
    expect(cpu.cpuid(0xb, 2)).toEqual({ eax: 0, ebx: 0, ecx: 2, edx: 0 });
  });
});

describe("registers of root mode", () => {
  it("refuse values that are #GP", () => {
    const cpu = boot();
    expect(() => cpu.writeCr(4, cpu.readCr(4) | CR4.LA57)).toThrow(HostGeneralProtection);
    expect(() => cpu.writeCr(0, 1n << 32n)).toThrow(HostGeneralProtection);
    expect(() => cpu.writeCr(3, 1n << 46n)).toThrow(HostGeneralProtection);
    expect(() => cpu.writeCr(8, 16n)).toThrow(HostGeneralProtection);
    expect(() => cpu.writeDr(7, 1n << 32n)).toThrow(HostGeneralProtection);
    expect(() => cpu.writeXcr0(0n)).toThrow(HostGeneralProtection);
  });

  it("are one set with the guest's where a VM entry does not switch them", () => {
    const cpu = boot();
    cpu.writeCr(2, 0xabc_0000_1234n);
    expect([...cpu.cr2]).toEqual([0x1234, 0xabc]);
    cpu.gprs[2 * 3] = 0x99;
    expect(cpu.state.get64(slot("rbx"))).toBe(0x99n);
    cpu.wrmsr(MSR.IA32_LSTAR, 0xffffffff81000000n);
    expect(cpu.state.get64(slot("lstar"))).toBe(0xffffffff81000000n);
    cpu.wrmsr(MSR.IA32_GS_BASE, 0x5000n);
    expect(cpu.readSegment("gs").base).toBe(0x5000n);
    expect(cpu.state.get64(slot("gs.base"))).toBe(0n);
  });

  it("keep descriptor tables and segments", () => {
    const cpu = boot();
    cpu.writeSegment("gdtr", { selector: 0, base: 0x1000n, limit: 0x7f });
    expect(cpu.readSegment("gdtr")).toEqual({ selector: 0, base: 0x1000n, limit: 0x7f });
    cpu.writeSegment("fs", { selector: 0x23, base: 0x2000n, limit: 0xffff });
    expect(cpu.readSegment("fs")).toEqual({ selector: 0x23, base: 0x2000n, limit: 0xffff });
  });

  it("save and load the FPU as FXSAVE does, and refuse an image that is too short", () => {
    const cpu = boot();
    const image = new Uint8Array(512);
    cpu.saveFpu(image);
    expect(new DataView(image.buffer).getUint16(0, true)).toBe(0x37f);
    expect(new DataView(image.buffer).getUint32(24, true)).toBe(0x1f80);
    expect(image[4]).toBe(0);
    image[4] = 0x81;
    image.fill(0x5a, 160, 416);
    for (let at = 32; at < 160; at += 16) image.fill(0xa0 + (at >> 4), at, at + 10);
    image.set([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16], 8);
    // TOP is 3: ST(0) is R3.
    image[3] = 0x18;
    cpu.loadFpu(image);
    expect(cpu.state.get64(slot("st3"))).toBe(0xa2a2_a2a2_a2a2_a2a2n);
    const again = new Uint8Array(512);
    cpu.saveFpu(again);
    expect(again).toEqual(image);
    expect(cpu.state.get64(slot("fip"))).toBe(0x0807060504030201n);
    expect(cpu.state.get64(slot("fdp"))).toBe(0x100f0e0d0c0b0a09n);
    expect(() => cpu.loadFpu(new Uint8Array(64))).toThrow(/64 bytes is too short/);
  });
});

describe("MSRs of root mode", () => {
  it.each([
    ["one that does not exist", 0x12345, 0n],
    ["a non-canonical address", MSR.IA32_LSTAR, 1n << 47n],
    ["a reserved bit of IA32_EFER", MSR.IA32_EFER, 2n],
    ["LME while paging is on", MSR.IA32_EFER, 0xc01n],
    ["a memory type that the PAT does not know", MSR.IA32_PAT, 2n],
    ["a read-only one", MSR.IA32_MTRRCAP, 0n],
    ["a high half of IA32_SYSENTER_CS", MSR.IA32_SYSENTER_CS, 1n << 32n],
  ])("refuse %s", (_, index, value) => {
    expect(() => boot().wrmsr(index, value)).toThrow(HostGeneralProtection);
  });

  it("say in the message what was tried", () => {
    expect(() => boot().rdmsr(0x12345)).toThrow(/RDMSR 0x12345/);
  });

  it("set the time-stamp counter of one processor", () => {
    const cpu = boot();
    cpu.wrmsr(MSR.IA32_TIME_STAMP_COUNTER, 1_000_000n);
    expect(cpu.rdtsc()).toBe(1_000_000n);
  });
});

describe("interrupts of root mode", () => {
  it("refuse a vector that no interrupt has", () => {
    expect(() => boot().raiseInterrupt(15)).toThrow(RangeError);
    expect(() => boot().raiseInterrupt(256)).toThrow(RangeError);
  });

  it("are taken by priority, each once", () => {
    const cpu = boot();
    for (const vector of [0x30, 0xf0, 0x30, 0x80]) cpu.raiseInterrupt(vector);
    expect([1, 2, 3, 4].map(() => cpu.acknowledgeInterrupt())).toEqual([0xf0, 0x80, 0x30, -1]);
  });

  it("come from the local timer once, and not when it is disarmed", () => {
    const host = createHost({ profile: SKYLAKE_SERVER, ramBytes: 1 << 20 });
    const [cpu] = host.processors;
    cpu?.setTimer(100);
    host.clock.charge(99);
    expect(cpu?.interruptPending).toBe(false);
    host.clock.charge(1);
    expect(cpu?.interruptPending).toBe(true);
    expect(cpu?.acknowledgeInterrupt()).toBe(HOST_TIMER_VECTOR);
    expect(cpu?.acknowledgeInterrupt()).toBe(-1);
    cpu?.setTimer(200);
    cpu?.setTimer(undefined);
    host.clock.charge(500);
    expect(cpu?.interruptPending).toBe(false);
  });

  it("come from a software timer of the host that is due", () => {
    const host = createHost({ profile: SKYLAKE_SERVER, ramBytes: 1 << 20 });
    const [cpu] = host.processors;
    const timer = host.timers.create("t", () => undefined);
    timer.arm(50);
    host.clock.charge(50);
    expect(cpu?.acknowledgeInterrupt()).toBe(HOST_TIMER_VECTOR);
    // It is not raised over and over while nobody serves the timer.
    expect(cpu?.interruptPending).toBe(false);
  });
});
