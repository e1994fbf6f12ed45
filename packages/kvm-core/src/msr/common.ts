import { MSR } from "@tapvisor/x86-isa";
import type { MsrAccess } from "../contract/index.js";
import { readX2apicMsr, writeX2apicMsr } from "../irqchip/lapic.js";
import { setTscDeadline, tscDeadlineOf } from "../irqchip/lapic-timer.js";
import { readL1Tsc, writeTsc, writeTscAdjust } from "../time/tsc.js";
import type { VcpuState } from "../state/vcpu-state.js";
import { setApicBase, writeEfer } from "./access.js";
import { getMachineCheckMsr, isMachineCheckMsr, setMachineCheckMsr } from "./machine-check.js";
import { getMtrr, setMtrr } from "./mtrr.js";

const X2APIC_END = MSR.IA32_X2APIC_BASE + 0x3ff;
/** IA32_DEBUGCTL bits that are taken, without effect: LBR and BTF. */
const DEBUGCTL_TAKEN = 3n;
/** Bits of K7_HWCR that guests set and KVM has no use for. */
const HWCR_IGNORED = 0x40148n;

/** Registers that read as a constant. */
const CONSTANT = new Map<number, bigint>([
  [MSR.IA32_PLATFORM_ID, 0n],
  [MSR.MSR_EBL_CR_POWERON, 0n],
  [MSR.IA32_DEBUGCTL, 0n],
  [MSR.MSR_LASTBRANCHFROMIP, 0n],
  [MSR.MSR_LASTBRANCHTOIP, 0n],
  [MSR.MSR_LASTINTFROMIP, 0n],
  [MSR.MSR_LASTINTTOIP, 0n],
  [MSR.K8_SYSCFG, 0n],
  [MSR.K8_TSEG_ADDR, 0n],
  [MSR.K8_TSEG_MASK, 0n],
  [MSR.K7_HWCR, 0n],
  [MSR.VM_HSAVE_PA, 0n],
  [MSR.K8_INT_PENDING_MSG, 0n],
  [MSR.AMD64_NB_CFG, 0n],
  [MSR.FAM10H_MMIO_CONF_BASE, 0n],
  [MSR.AMD64_BU_CFG2, 0n],
  [MSR.IA32_PERF_CTL, 0n],
  // Update revision in the high half.
  [MSR.IA32_BIOS_SIGN_ID, 0x1_00000000n],
  [MSR.MSR_FSB_FREQ, 3n],
  // Core clock and bus clock at a ratio of 1, for guests that divide by it.
  [MSR.MSR_EBC_FREQUENCY_ID, 1n << 24n],
  // TSC increment by tick, and the multiplier.
  [MSR.IA32_PERF_STATUS, 1000n | (4n << 40n)],
  [MSR.K7_CLK_CTL, 0x20000000n],
  [MSR.MSR_BBL_CR_CTL3, 0xbe702111n],
]);

/** Registers whose writes are dropped. */
const WRITE_IGNORED = new Set<number>([
  MSR.AMD64_NB_CFG,
  MSR.IA32_BIOS_SIGN_ID,
  MSR.IA32_BIOS_UPDT_TRIG,
  MSR.VM_HSAVE_PA,
  MSR.AMD64_PATCH_LOADER,
  MSR.AMD64_BU_CFG2,
  MSR.K7_CLK_CTL,
  MSR.MSR_BBL_CR_CTL3,
]);

/** Counters of processors without an architectural PMU: they read 0, and writes are dropped. */
function isLegacyPerformanceMsr(msr: number): boolean {
  return (
    (msr >= MSR.K7_EVNTSEL0 && msr <= MSR.K7_PERFCTR3) ||
    (msr >= MSR.IA32_PMC0 && msr <= MSR.IA32_PMC1) ||
    (msr >= MSR.IA32_PERFEVTSEL0 && msr <= MSR.IA32_PERFEVTSEL1)
  );
}

const isMtrrRange = (msr: number): boolean => msr >= 0x200 && msr <= 0x2ff;

/** What a read found: undefined means no such register. */
function read(vcpu: VcpuState, msr: MsrAccess): bigint | undefined {
  const { arch, lapic } = vcpu;
  const { index } = msr;
  switch (index) {
    case MSR.IA32_EFER:
      return arch.efer;
    case MSR.IA32_TIME_STAMP_COUNTER:
      return readL1Tsc(vcpu);
    case MSR.IA32_APIC_BASE:
      return arch.apicBase;
    case MSR.IA32_TSC_DEADLINE:
      return lapic ? tscDeadlineOf(lapic) : 0n;
    case MSR.IA32_TSC_ADJUST:
      return arch.tscAdjust;
    case MSR.IA32_MISC_ENABLE:
      return arch.miscEnable;
    case MSR.IA32_SMBASE:
      return msr.hostInitiated ? vcpu.smbase : undefined;
    case MSR.IA32_MTRRCAP:
      return getMtrr(vcpu, index);
    default:
  }
  if (isMtrrRange(index)) return getMtrr(vcpu, index);
  if (index >= MSR.IA32_X2APIC_BASE && index <= X2APIC_END) {
    return lapic && readX2apicMsr(lapic, (index - MSR.IA32_X2APIC_BASE) << 4);
  }
  if (isMachineCheckMsr(index)) return getMachineCheckMsr(vcpu, index);
  const constant = CONSTANT.get(index);
  if (constant !== undefined) return constant;
  if (vcpu.kvm.ops.pmu_ops.is_valid_msr(vcpu, index)) {
    return vcpu.kvm.ops.pmu_ops.get_msr(vcpu, msr) ? undefined : msr.data;
  }
  if (isLegacyPerformanceMsr(index)) return 0n;
  return vcpu.kvm.host.options.ignoreMsrs ? 0n : undefined;
}

/** kvm_get_msr_common: true = refused. */
export function getMsrCommon(vcpu: VcpuState, msr: MsrAccess): boolean {
  const data = read(vcpu, msr);
  if (data === undefined) return true;
  msr.data = data;
  return false;
}

/** kvm_set_msr_common: true = refused. */
export function setMsrCommon(vcpu: VcpuState, msr: MsrAccess): boolean {
  const { arch, lapic } = vcpu;
  const { index, data } = msr;
  switch (index) {
    case MSR.IA32_EFER:
      return writeEfer(vcpu, data);
    case MSR.IA32_TIME_STAMP_COUNTER:
      writeTsc(vcpu, msr);
      return false;
    case MSR.IA32_APIC_BASE:
      return setApicBase(vcpu, msr);
    case MSR.IA32_TSC_DEADLINE:
      if (lapic) setTscDeadline(lapic, data);
      return false;
    case MSR.IA32_TSC_ADJUST:
      writeTscAdjust(vcpu, msr);
      return false;
    case MSR.IA32_MISC_ENABLE:
      arch.miscEnable = data;
      return false;
    case MSR.IA32_SMBASE:
      if (!msr.hostInitiated) return true;
      vcpu.smbase = data;
      return false;
    case MSR.IA32_DEBUGCTL:
      return (data & ~DEBUGCTL_TAKEN) !== 0n;
    case MSR.K7_HWCR:
      return (data & ~HWCR_IGNORED) !== 0n;
    case MSR.FAM10H_MMIO_CONF_BASE:
      return data !== 0n;
    default:
  }
  if (isMtrrRange(index)) return setMtrr(vcpu, index, data);
  if (index >= MSR.IA32_X2APIC_BASE && index <= X2APIC_END) {
    return lapic === undefined || writeX2apicMsr(lapic, (index - MSR.IA32_X2APIC_BASE) << 4, data);
  }
  if (isMachineCheckMsr(index)) return setMachineCheckMsr(vcpu, msr);
  if (WRITE_IGNORED.has(index)) return false;
  if (vcpu.kvm.ops.pmu_ops.is_valid_msr(vcpu, index)) return vcpu.kvm.ops.pmu_ops.set_msr(vcpu, msr);
  if (isLegacyPerformanceMsr(index)) return false;
  return !vcpu.kvm.host.options.ignoreMsrs;
}
