import type { Vcpu } from "@tapvisor/kvm-core";
import { MSR } from "@tapvisor/x86-isa";
import { describe, expect, it } from "vitest";
import { createMachine } from "../src/index.js";

/** Values that one or another register takes and that no power-on leaves. */
const CANDIDATES = [0x0606060606060606n, 0xffff8000_00001000n, 0x1006n, 0x0806n, 6n, 0x800n, 3n, 1n, 0n];
const INDICES = [...new Set<number>(Object.values(MSR))].sort((a, b) => a - b);

function readMsr(vcpu: Vcpu, index: number): bigint | undefined {
  try {
    return vcpu.getMsrs([index])[0];
  } catch {
    return undefined;
  }
}

function changeMsr(vcpu: Vcpu, index: number): boolean {
  const before = readMsr(vcpu, index);
  return CANDIDATES.some((data) => {
    try {
      vcpu.setMsrs([{ index, data }]);
    } catch {
      return false;
    }
    return readMsr(vcpu, index) !== before;
  });
}

/** All that user space can see of a vCPU. */
const stateOf = (vcpu: Vcpu) => ({
  regs: vcpu.getRegs(),
  sregs: vcpu.getSregs(),
  fpu: vcpu.getFpu(),
  xsave: vcpu.getXsave(),
  xcrs: vcpu.getXcrs(),
  debugRegs: vcpu.getDebugRegs(),
  events: vcpu.getVcpuEvents(),
  lapic: vcpu.getLapic(),
  mpState: vcpu.getMpState(),
  cpuid: vcpu.getCpuid2(),
  msrs: INDICES.map((index) => [index, readMsr(vcpu, index)]),
});

/** A guest has been at work: as much as possible is other than power-on leaves it. */
function disturb(vcpu: Vcpu): void {
  const sregs = vcpu.getSregs();
  const code = { ...sregs.cs, base: 0n, selector: 8, limit: 0xffffffff, type: 0xb, g: true, db: true };
  const data = { ...sregs.ds, selector: 0x10, limit: 0xffffffff, type: 3, g: true, db: true };
  vcpu.setSregs({
    ...sregs,
    cs: code,
    ...{ ds: data, es: data, fs: data, gs: data, ss: data },
    ...{ gdt: { address: 0x1000n, size: 0x17 }, idt: { address: 0x2000n, size: 0x7ff } },
    ...{ cr0: 0x33n, cr2: 0x1234n, cr3: 0x5000n, cr4: 0x40668n },
  });
  for (const index of INDICES) {
    if (index !== MSR.IA32_APIC_BASE) changeMsr(vcpu, index);
  }
  const regs = vcpu.getRegs();
  vcpu.setRegs(
    Object.fromEntries(Object.keys(regs).map((name, i) => [name, name === "rflags" ? 0x202n : BigInt(i + 1)])),
  );
  vcpu.setFpu(vcpu.getFpu().map((byte, i) => (i >= 24 && i < 32 ? byte : i & 0x7f)));
  vcpu.setXcrs([{ index: 0, value: 3n }]);
  vcpu.setDebugRegs({ db: [1n, 2n, 3n, 4n], dr6: 0xffff0ff1n, dr7: 0x401n });
  const lapic = vcpu.getLapic();
  lapic.set([0xff, 1], 0xf0);
  lapic.set([0x30, 0, 2, 0], 0x320);
  lapic.set([0x40], 0x80);
  lapic.set([0, 0x10], 0x380);
  vcpu.setLapic(lapic);
  const events = vcpu.getVcpuEvents();
  vcpu.setVcpuEvents({ ...events, interrupt: { ...events.interrupt, injected: true, nr: 0x30 }, sipiVector: 9 });
}

/** Processors that switch MSRs, real mode and segments in different ways. */
const PROFILES = ["skylake-server", "skylake-server-no-unrestricted"];

describe.each(PROFILES)("a vCPU on %s", (profile) => {
  it("is after a reset as a fresh one", () => {
    const machine = createMachine({ memorySize: 1 << 20, cpus: 2, profile });
    for (const vcpu of machine.vcpus) {
      const fresh = stateOf(vcpu);
      disturb(vcpu);
      const disturbed = stateOf(vcpu);
      for (const name of Object.keys(fresh) as (keyof typeof fresh)[]) {
        if (name !== "mpState") expect(disturbed[name], `${name} is not disturbed`).not.toEqual(fresh[name]);
      }
      machine.vm.reset();
      expect(stateOf(vcpu)).toEqual(fresh);
    }
    machine.dispose();
  });

  it("keeps over INIT what the manual says: x87 and SSE, XCR0, PAT, MTRRs, TSC_ADJUST", () => {
    const machine = createMachine({ memorySize: 1 << 20, cpus: 2, profile });
    const [first, second] = machine.vcpus as [Vcpu, Vcpu];
    second.setMpState("runnable");
    disturb(second);
    // INIT to the second processor, by the first one's interrupt command register in x2APIC mode.
    const apicBase = readMsr(first, MSR.IA32_APIC_BASE) ?? 0n;
    first.setMsrs([
      { index: MSR.IA32_APIC_BASE, data: apicBase | 0x400n },
      { index: MSR.IA32_X2APIC_ICR, data: (1n << 32n) | 0x4500n },
    ]);
    const before = stateOf(second);
    expect(before.mpState).toBe("init_received");
    disturb(second);
    const disturbed = stateOf(second);
    first.setMsrs([{ index: MSR.IA32_X2APIC_ICR, data: (1n << 32n) | 0x4500n }]);
    second.getMpState();
    const after = stateOf(second);
    const { fpu, xsave, xcrs } = disturbed;
    expect({ ...after, cpuid: 0, msrs: 0 }).toMatchObject({ fpu, xsave, xcrs });
    // INIT clears IA32_EFER, and the bases of FS and GS with their segments.
    const cleared = new Set<number>([MSR.IA32_EFER, MSR.IA32_FS_BASE, MSR.IA32_GS_BASE]);
    expect(after.msrs.filter(([index]) => !cleared.has(Number(index)))).toEqual(
      disturbed.msrs.filter(([index]) => !cleared.has(Number(index))),
    );
    expect(after.sregs.cs).toMatchObject({ selector: 0xf000, base: 0xffff0000n });
    expect([after.sregs.cr0, after.sregs.cr3, after.sregs.cr4, after.sregs.efer]).toEqual([0x60000010n, 0n, 0n, 0n]);
    expect(after.regs).toMatchObject({ rax: 0n, rsp: 0n, rip: 0xfff0n, rflags: 2n });
    expect(after.debugRegs).toEqual({ db: [0n, 0n, 0n, 0n], dr6: 0xffff0ff0n, dr7: 0x400n });
    machine.dispose();
  });
});
