import { CPUID, MISC_ENABLE, MSR, MSR_NAMES } from "@tapvisor/x86-isa";
import { describe, expect, it } from "vitest";
import { MSR_ROW_INDICES } from "../../src/msr/rows.js";
import { acceptInterrupt } from "../../src/irqchip/lapic-delivery.js";
import { DELIVERY } from "../../src/irqchip/lapic-registers.js";
import type { KvmVcpu } from "../../src/vcpu.js";
import { scriptedVcpu } from "../support/scripted.js";

/** Values that one or another register takes and that no power-on leaves. */
const CANDIDATES = [0x0606060606060606n, 0xffff8000_00001000n, 0x1006n, 0x0806n, 6n, 0x800n, 3n, 1n, 0n];

function read(vcpu: KvmVcpu, index: number): bigint | undefined {
  try {
    return vcpu.getMsrs([index])[0];
  } catch {
    return undefined;
  }
}

/** Write something else to the register: false where it cannot be. */
function change(vcpu: KvmVcpu, index: number): boolean {
  const before = read(vcpu, index);
  return CANDIDATES.some((data) => {
    try {
      vcpu.setMsrs([{ index, data }]);
    } catch {
      return false;
    }
    const after = read(vcpu, index);
    return after !== undefined && after !== before;
  });
}

const CPUID_OF_THE_GUEST = [CPUID.MONITOR, CPUID.TSC_ADJUST].map(({ leaf, subleaf, register, bit }) => ({
  ...{ function: leaf, index: subleaf, significantIndex: leaf === 7, eax: 0, ebx: 0, ecx: 0, edx: 0 },
  [register]: 1 << bit,
}));

function setUp() {
  const scripted = scriptedVcpu();
  const { vcpu } = scripted;
  vcpu.setCpuid2(CPUID_OF_THE_GUEST);
  vcpu.setupMce(32n | (1n << 8n));
  return scripted;
}

/** All but IA32_EFER, which the op `vcpu_reset` brings back. */
const readAll = (vcpu: KvmVcpu) =>
  Object.fromEntries(
    MSR_ROW_INDICES.filter((index) => index !== MSR.IA32_EFER).map((index) => [
      MSR_NAMES.get(index) ?? index.toString(16),
      read(vcpu, index),
    ]),
  );

describe("the core's MSRs", () => {
  it("are after power-on what they are on a fresh vCPU", () => {
    const { vm, vcpu } = setUp();
    const fresh = readAll(vcpu);
    const changed = MSR_ROW_INDICES.filter((index) => change(vcpu, index)).map((index) => MSR_NAMES.get(index));
    // Of each kind of row, so that the test is about something.
    expect(changed).toEqual(
      expect.arrayContaining([
        "IA32_APIC_BASE", "IA32_TSC_ADJUST", "IA32_SMBASE", "IA32_MISC_ENABLE", "IA32_MTRR_PHYSBASE0",
        "IA32_MTRR_FIX64K_00000", "IA32_PAT", "IA32_MTRR_DEF_TYPE", "IA32_MCG_STATUS", "IA32_MCG_CTL", "IA32_MC3_CTL",
        "IA32_MC31_ADDR", "IA32_TIME_STAMP_COUNTER",
      ]), // prettier-ignore
    );
    vm.reset();
    expect(readAll(vcpu)).toEqual(fresh);
  });

  it("have at power-on the values of the manual", () => {
    // SDM vol. 3, "Processor State After Reset" and "IA32_PAT MSR".
    expect(readAll(setUp().vcpu)).toMatchObject({
      ...{ IA32_PAT: 0x0007_0406_0007_0406n, IA32_MTRR_DEF_TYPE: 0n, IA32_TSC_ADJUST: 0n, IA32_TIME_STAMP_COUNTER: 0n },
      ...{ IA32_APIC_BASE: 0xfee0_0900n, IA32_SMBASE: 0x3_0000n, IA32_MTRR_PHYSBASE0: 0n, IA32_MCG_STATUS: 0n },
    });
  });

  it("have the TSC start anew, however soon power-on follows the last one", () => {
    const { vm, vcpu, advance } = setUp();
    advance(5000);
    expect(read(vcpu, MSR.IA32_TIME_STAMP_COUNTER)).toBe(5000n);
    vm.reset();
    expect(read(vcpu, MSR.IA32_TIME_STAMP_COUNTER)).toBe(0n);
  });

  it("are kept over INIT", () => {
    const { vcpu } = setUp();
    for (const index of MSR_ROW_INDICES) {
      if (index !== MSR.IA32_APIC_BASE && index !== MSR.IA32_EFER) change(vcpu, index);
    }
    const before = readAll(vcpu);
    if (vcpu.lapic) acceptInterrupt(vcpu.lapic, DELIVERY.INIT, 0, true, false);
    expect(vcpu.getMpState()).toBe("runnable");
    expect(readAll(vcpu)).toEqual(before);
  });

  it("show in IA32_MISC_ENABLE what CPUID implies, and keep its read-only bits", () => {
    const { vcpu } = setUp();
    const unavailable = MISC_ENABLE.BTS_UNAVAIL | MISC_ENABLE.PEBS_UNAVAIL;
    expect(read(vcpu, MSR.IA32_MISC_ENABLE)).toBe(MISC_ENABLE.FAST_STRING | unavailable | MISC_ENABLE.MWAIT);
    vcpu.setMsrs([{ index: MSR.IA32_MISC_ENABLE, data: 0n }]);
    expect(read(vcpu, MSR.IA32_MISC_ENABLE)).toBe(unavailable);
    const { vcpu: without } = scriptedVcpu();
    expect(read(without, MSR.IA32_MISC_ENABLE)).toBe(MISC_ENABLE.FAST_STRING | unavailable);
  });
});
