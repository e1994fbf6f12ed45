import { CPUID, CR0, EFER, MSR } from "@tapvisor/x86-isa";
import { describe, expect, it } from "vitest";
import type { KvmVcpu } from "../../src/vcpu.js";
import { getMsr, setMsr } from "../../src/msr/access.js";
import { guestMemoryType } from "../../src/msr/mtrr.js";
import { scriptedVcpu } from "../support/scripted.js";

const refusesWrite = (vcpu: KvmVcpu, index: number, data: bigint): boolean =>
  setMsr(vcpu, { index, data, hostInitiated: false });

function read(vcpu: KvmVcpu, index: number): bigint | "refused" {
  const msr = { index, data: 0n, hostInitiated: false };
  return getMsr(vcpu, msr) ? "refused" : msr.data;
}

const NON_CANONICAL = 0x0000_8000_0000_0000n;

describe("MSRs that a guest writes", () => {
  it.each([
    ["a segment base that is not canonical", MSR.IA32_KERNEL_GS_BASE, NON_CANONICAL],
    ["LSTAR that is not canonical", MSR.IA32_LSTAR, NON_CANONICAL],
    ["a reserved bit of EFER", MSR.IA32_EFER, 1n << 1n],
    ["EFER.SVME without SVM", MSR.IA32_EFER, EFER.SVME],
    ["a memory type that PAT has not got", MSR.IA32_PAT, 0x02n],
    ["a reserved bit of the MTRRs' default type", MSR.IA32_MTRR_DEF_TYPE, 1n << 12n],
    ["a memory type that MTRRs have not got", MSR.IA32_MTRR_FIX64K_00000, 0x07n],
    ["an MTRR's base beyond the physical addresses", MSR.IA32_MTRR_PHYSBASE0, 1n << 40n],
    ["IA32_MCG_CAP, which is read-only", MSR.IA32_MCG_CAP, 0n],
    ["a machine-check status that is not 0", MSR.IA32_MC0_CTL + 1, 1n],
    ["anything but none or all of a bank's errors", MSR.IA32_MC0_CTL, 2n],
    ["IA32_SMBASE outside SMM", MSR.IA32_SMBASE, 0n],
    ["bits of IA32_DEBUGCTL beyond LBR and BTF", MSR.IA32_DEBUGCTL, 1n << 6n],
    ["a register that does not exist", 0xdead, 0n],
  ])("refuse %s", (_what, index, data) => {
    const { vcpu } = scriptedVcpu();
    expect(refusesWrite(vcpu, index, data)).toBe(true);
  });

  it("make SYSENTER's addresses canonical", () => {
    const { vcpu } = scriptedVcpu({
      change: (ops, kvm) => {
        const sysenter = new Map<number, bigint>();
        ops.set_msr = (v, msr) =>
          msr.index === MSR.IA32_SYSENTER_EIP ? !sysenter.set(msr.index, msr.data) : kvm.setMsrCommon(v, msr);
        ops.get_msr = (v, msr) => {
          const value = sysenter.get(msr.index);
          if (value === undefined) return kvm.getMsrCommon(v, msr);
          msr.data = value;
          return false;
        };
      },
    });
    expect(refusesWrite(vcpu, MSR.IA32_SYSENTER_EIP, NON_CANONICAL)).toBe(false);
    expect(read(vcpu, MSR.IA32_SYSENTER_EIP)).toBe(0xffff_8000_0000_0000n);
  });

  it("keep EFER.LMA the processor's, and LME as it is under paging", () => {
    const { vcpu } = scriptedVcpu();
    expect(refusesWrite(vcpu, MSR.IA32_EFER, EFER.LME | EFER.LMA)).toBe(false);
    expect(vcpu.arch.efer).toBe(EFER.LME);
    vcpu.arch.cr0 |= CR0.PG;
    expect(refusesWrite(vcpu, MSR.IA32_EFER, 0n)).toBe(true);
    expect(refusesWrite(vcpu, MSR.IA32_EFER, EFER.LME | EFER.SCE)).toBe(false);
  });

  it("are swallowed, and read as 0, where the host is told to ignore unknown ones", () => {
    const { vcpu } = scriptedVcpu({ options: { ignoreMsrs: true } });
    expect(refusesWrite(vcpu, 0xdead, 5n)).toBe(false);
    expect(read(vcpu, 0xdead)).toBe(0n);
    expect(read(scriptedVcpu().vcpu, 0xdead)).toBe("refused");
  });

  it("accept what guests of every vendor write at boot", () => {
    const { vcpu } = scriptedVcpu();
    for (let index = MSR.K7_EVNTSEL0; index <= MSR.K7_PERFCTR3; index++)
      expect(refusesWrite(vcpu, index, 0n)).toBe(false);
    expect(refusesWrite(vcpu, MSR.IA32_BIOS_UPDT_TRIG, 0n)).toBe(false);
    expect(read(vcpu, MSR.IA32_BIOS_SIGN_ID)).toBe(0x1_0000_0000n);
  });
});

describe("the time-stamp counter", () => {
  const withAdjust = () => {
    const scripted = scriptedVcpu();
    const { leaf, subleaf, register, bit } = CPUID.TSC_ADJUST;
    const zero = { eax: 0, ebx: 0, ecx: 0, edx: 0 };
    scripted.vcpu.setCpuid2([
      { function: leaf, index: subleaf, significantIndex: true, ...zero, [register]: 1 << bit },
    ]);
    return scripted;
  };

  it("is what the guest wrote, and IA32_TSC_ADJUST follows", () => {
    const { vcpu, advance } = withAdjust();
    advance(1000);
    const before = read(vcpu, MSR.IA32_TIME_STAMP_COUNTER) as bigint;
    expect(refusesWrite(vcpu, MSR.IA32_TIME_STAMP_COUNTER, 5n)).toBe(false);
    advance(10);
    expect(read(vcpu, MSR.IA32_TIME_STAMP_COUNTER)).toBe(15n);
    expect(BigInt.asIntN(64, read(vcpu, MSR.IA32_TSC_ADJUST) as bigint)).toBe(5n - before);
  });

  it("moves by as much as IA32_TSC_ADJUST does", () => {
    const { vcpu } = withAdjust();
    const before = read(vcpu, MSR.IA32_TIME_STAMP_COUNTER) as bigint;
    refusesWrite(vcpu, MSR.IA32_TSC_ADJUST, 1_000_000n);
    expect(read(vcpu, MSR.IA32_TIME_STAMP_COUNTER)).toBe(before + 1_000_000n);
    refusesWrite(vcpu, MSR.IA32_TSC_ADJUST, 0n);
    expect(read(vcpu, MSR.IA32_TIME_STAMP_COUNTER)).toBe(before);
  });

  it("is the same on vCPUs that were created one after the other", () => {
    const { vm, vcpu, advance } = scriptedVcpu();
    advance(5000);
    const second = vm.createVcpu(1);
    expect(second.arch.tscOffset).toBe(vcpu.arch.tscOffset);
  });
});

describe("memory-type range registers", () => {
  it("give the type of a page by the manual's precedences", () => {
    const { vcpu } = scriptedVcpu();
    expect(guestMemoryType(vcpu, 0)).toBe(6);
    const set = (index: number, data: bigint): void => expect(refusesWrite(vcpu, index, data)).toBe(false);
    set(MSR.IA32_MTRR_DEF_TYPE, 6n);
    expect(guestMemoryType(vcpu, 0)).toBe(0);
    set(MSR.IA32_MTRR_DEF_TYPE, 0xc06n);
    set(MSR.IA32_MTRR_FIX16K_A0000, 0x01n << 8n);
    expect([0xa0, 0xa4, 0xa8].map((gfn) => guestMemoryType(vcpu, gfn))).toEqual([0, 1, 0]);
    // 1 MiB at 16 MiB write-through, over 16 MiB uncached from there on.
    set(MSR.IA32_MTRR_PHYSBASE0, 0x1000004n);
    set(MSR.IA32_MTRR_PHYSMASK0, 0xfff00800n);
    expect([0xfff, 0x1000, 0x1100].map((gfn) => guestMemoryType(vcpu, gfn))).toEqual([6, 4, 6]);
    set(MSR.IA32_MTRR_PHYSBASE0 + 2, 0x1000000n);
    set(MSR.IA32_MTRR_PHYSMASK0 + 2, 0xff000800n);
    expect([0x1000, 0x1100, 0x2000].map((gfn) => guestMemoryType(vcpu, gfn))).toEqual([0, 0, 6]);
  });
});

describe("the list of MSRs", () => {
  it("has what the host has, and what KVM emulates", () => {
    const { kvm } = scriptedVcpu();
    expect(kvm.getMsrIndexList()).toEqual([
      MSR.IA32_TSC_ADJUST, MSR.IA32_SMBASE, MSR.IA32_MISC_ENABLE, MSR.IA32_MCG_STATUS, MSR.IA32_MCG_CTL,
      MSR.IA32_TSC_DEADLINE,
    ]); // prettier-ignore
  });

  it("stops at the first that does not exist", () => {
    const { vcpu } = scriptedVcpu();
    expect(() => vcpu.setMsrs([{ index: 0xdead, data: 1n }])).toThrow(/EINVAL: MSR 0xdead refuses 0x1, KVM_SET_MSRS/);
    expect(() => vcpu.getMsrs([MSR.IA32_APIC_BASE, 0xdead])).toThrow(/EINVAL: MSR 0xdead does not exist/);
  });
});
