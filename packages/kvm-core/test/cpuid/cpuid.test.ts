import { CPUID, CPUID_LEAF, CR4, type CpuidFeature } from "@tapvisor/x86-isa";
import { describe, expect, it } from "vitest";
import { REG, type CpuidEntry } from "../../src/contract/index.js";
import { emulateCpuid } from "../../src/cpuid/emulate.js";
import { setCr4 } from "../../src/registers/set-control.js";
import { scriptedKvm, scriptedVcpu } from "../support/scripted.js";

const has = (entries: readonly CpuidEntry[], { leaf, subleaf, register, bit }: CpuidFeature): boolean => {
  const entry = entries.find((e) => e.function === leaf && (!e.significantIndex || e.index === subleaf));
  return entry !== undefined && ((entry[register] >>> bit) & 1) === 1;
};

const leaf = (fn: number, values: Partial<CpuidEntry>): CpuidEntry => ({
  function: fn, index: 0, significantIndex: false, eax: 0, ebx: 0, ecx: 0, edx: 0, ...values,
}); // prettier-ignore

describe("the supported CPUID", () => {
  it("keeps what guests may have, hides what they may not, and adds what is emulated", () => {
    const entries = scriptedKvm().kvm.getSupportedCpuid();
    for (const kept of [CPUID.FPU, CPUID.SMEP, CPUID.BMI1, CPUID.LM, CPUID.SYSCALL, CPUID.INVARIANT_TSC]) {
      expect(has(entries, kept)).toBe(true);
    }
    for (const hidden of [CPUID.VMX, CPUID.MONITOR, CPUID.HTT, CPUID.SVM, CPUID.UMIP, CPUID.ACPI, CPUID.TSC_DEADLINE]) {
      expect(has(entries, hidden)).toBe(false);
    }
    for (const emulated of [CPUID.X2APIC, CPUID.TSC_ADJUST]) expect(has(entries, emulated)).toBe(true);
  });

  it("asks the backend for what only it can give", () => {
    const without = scriptedKvm({ change: (ops) => void (ops.rdtscp_supported = () => false) });
    expect(has(without.kvm.getSupportedCpuid(), CPUID.RDTSCP)).toBe(false);
    expect(has(without.kvm.getSupportedCpuid(), CPUID.INVPCID)).toBe(false);
    const adding = scriptedKvm({
      change: (ops) => {
        ops.set_supported_cpuid = (fn, entry) => {
          if (fn === 1) entry.ecx |= 1 << CPUID.VMX.bit;
        };
      },
    });
    expect(has(adding.kvm.getSupportedCpuid(), CPUID.VMX)).toBe(true);
  });

  it("says that it is KVM, and offers no paravirtual service", () => {
    const entries = scriptedKvm().kvm.getSupportedCpuid();
    const signature = entries.find((e) => e.function === CPUID_LEAF.HYPERVISOR);
    const text = [signature?.ebx ?? 0, signature?.ecx ?? 0, signature?.edx ?? 0]
      .flatMap((word) => [0, 8, 16, 24].map((shift) => String.fromCharCode((word >>> shift) & 0xff)))
      .join("");
    expect(text).toBe("KVMKVMKVM\0\0\0");
    expect(entries.find((e) => e.function === CPUID_LEAF.HYPERVISOR_FEATURES)?.eax).toBe(0);
  });
});

describe("setCpuid2", () => {
  it("refuses linear addresses of another width, and more entries than KVM takes", () => {
    const { vcpu } = scriptedVcpu();
    expect(() => vcpu.setCpuid2([leaf(0x80000008, { eax: 0x3927 })])).toThrow(/EINVAL: .*57/);
    expect(() => vcpu.setCpuid2(Array.from({ length: 81 }, (_, i) => leaf(i, {})))).toThrow(/E2BIG/);
    expect(vcpu.getCpuid2()).toEqual([]);
  });

  it("copies what it is given", () => {
    const { vcpu } = scriptedVcpu();
    const entry = leaf(1, { ecx: 1 << 26 });
    vcpu.setCpuid2([entry]);
    entry.eax = 99;
    expect(vcpu.getCpuid2()[0]?.eax).toBe(0);
  });

  it("shows OSXSAVE as CR4 has it", () => {
    const { vcpu } = scriptedVcpu();
    expect(setCr4(vcpu, CR4.OSXSAVE)).toBe(true);
    vcpu.setCpuid2([leaf(1, { ecx: 1 << CPUID.XSAVE.bit })]);
    expect(has(vcpu.getCpuid2(), CPUID.OSXSAVE)).toBe(false);
    expect(setCr4(vcpu, CR4.OSXSAVE)).toBe(false);
    expect(has(vcpu.getCpuid2(), CPUID.OSXSAVE)).toBe(true);
  });

  it("gives the guest's physical addresses their width", () => {
    const { vcpu } = scriptedVcpu();
    expect(vcpu.arch.maxPhysAddrBits).toBe(36);
    vcpu.setCpuid2([leaf(1, {}), leaf(0x80000000, { eax: 0x80000008 }), leaf(0x80000008, { eax: 0x3027 })]);
    expect(vcpu.arch.maxPhysAddrBits).toBe(39);
  });
});

describe("emulating CPUID", () => {
  const answer = (entries: readonly CpuidEntry[], eax: bigint, ecx = 0n): bigint[] => {
    const { vcpu } = scriptedVcpu();
    vcpu.setCpuid2(entries);
    vcpu.setRegs({ rax: eax, rcx: ecx, rip: 10n });
    emulateCpuid(vcpu);
    expect(vcpu.getRegs().rip).toBe(11n);
    return [REG.RAX, REG.RBX, REG.RCX, REG.RDX].map((reg) => vcpu.arch.regs.u64[reg] as bigint);
  };
  const entries = [
    leaf(0, { eax: 7, ebx: 0x11 }),
    leaf(7, { eax: 1, ebx: 0xffffffff, significantIndex: true }),
    leaf(7, { eax: 2, index: 1, significantIndex: true }),
    leaf(0x80000000, { eax: 0x80000001 }),
  ];

  it("answers by leaf and subleaf, and clears the upper halves", () => {
    expect(answer(entries, 0xffffffff_00000000n)).toEqual([7n, 0x11n, 0n, 0n]);
    expect(answer(entries, 7n, 0xf_00000000n)).toEqual([1n, 0xffffffffn, 0n, 0n]);
    expect(answer(entries, 7n, 1n)).toEqual([2n, 0n, 0n, 0n]);
  });

  it("answers beyond the last leaf as the last basic leaf does, and within the range with zeros", () => {
    expect(answer(entries, 0x55n)).toEqual([1n, 0xffffffffn, 0n, 0n]);
    expect(answer(entries, 0x80000055n)).toEqual([1n, 0xffffffffn, 0n, 0n]);
    expect(answer(entries, 3n)).toEqual([0n, 0n, 0n, 0n]);
    expect(answer(entries, 0x80000001n)).toEqual([0n, 0n, 0n, 0n]);
  });
});
