import { PERF_COUNT_HW, type KvmPmuOps, type MsrAccess, type Pmc, type Vcpu } from "@tapvisor/kvm-core/contract";
import { MSR } from "@tapvisor/x86-isa";
import { notImplemented } from "../errors.js";

/** RDPMC: bit 30 of the operand selects the fixed counters, bit 31 the fast mode. */
const RDPMC_FIXED = 1 << 30;
const RDPMC_FLAGS = 3 << 30;

/** Events of the fixed counters (SDM vol. 3, "Fixed-Function Performance Counters"). */
const FIXED_EVENTS = [PERF_COUNT_HW.INSTRUCTIONS, PERF_COUNT_HW.CPU_CYCLES, PERF_COUNT_HW.REF_CPU_CYCLES] as const;

function intelFindArchEvent(_vcpu: Vcpu, _eventSelect: number, _unitMask: number): number {
  throw notImplemented("pmu_ops.find_arch_event");
}

function intelFindFixedEvent(idx: number): number {
  return FIXED_EVENTS[idx] ?? PERF_COUNT_HW.MAX;
}

function intelPmcIsEnabled(_pmc: Pmc): boolean {
  throw notImplemented("pmu_ops.pmc_is_enabled");
}

/** The PMU has no counters, so no index names one. */
function intelPmcIdxToPmc(_vcpu: Vcpu, _idx: number): Pmc | undefined {
  return undefined;
}

function intelMsrIdxToPmc(_vcpu: Vcpu, _idx: number): Pmc | undefined {
  return undefined;
}

function intelIsValidMsrIdx(vcpu: Vcpu, idx: number): boolean {
  const { gpCounters, fixedCounters } = vcpu.arch.pmu;
  const index = idx & ~RDPMC_FLAGS;
  return index >= ((idx & RDPMC_FIXED) !== 0 ? fixedCounters : gpCounters);
}

function intelIsValidMsr(vcpu: Vcpu, index: number): boolean {
  const { version, gpCounters, fixedCounters } = vcpu.arch.pmu;
  const within = (first: number, count: number): boolean => index >= first && index < first + count;
  switch (index) {
    case MSR.IA32_FIXED_CTR_CTRL:
    case MSR.IA32_PERF_GLOBAL_STATUS:
    case MSR.IA32_PERF_GLOBAL_CTRL:
    case MSR.IA32_PERF_GLOBAL_OVF_CTRL:
      return version > 1;
    default:
      return (
        within(MSR.IA32_PMC0, gpCounters) ||
        within(MSR.IA32_PERFEVTSEL0, gpCounters) ||
        within(MSR.IA32_FIXED_CTR0, fixedCounters)
      );
  }
}

function intelPmuGetMsr(_vcpu: Vcpu, _msr: MsrAccess): boolean {
  throw notImplemented("pmu_ops.get_msr");
}

function intelPmuSetMsr(_vcpu: Vcpu, _msr: MsrAccess): boolean {
  throw notImplemented("pmu_ops.set_msr");
}

/** Version 0, whatever the guest's CPUID says: there are no counters to give it. */
function intelPmuRefresh(vcpu: Vcpu): void {
  vcpu.arch.pmu.version = 0;
  vcpu.arch.pmu.gpCounters = 0;
  vcpu.arch.pmu.fixedCounters = 0;
}

function intelPmuInit(vcpu: Vcpu): void {
  intelPmuRefresh(vcpu);
}

/** Nothing counts, so nothing has to be stopped. */
function intelPmuReset(_vcpu: Vcpu): void {
  // No counter has a value.
}

/** intel_pmu_ops. */
export const intelPmuOps: KvmPmuOps = {
  find_arch_event: intelFindArchEvent,
  find_fixed_event: intelFindFixedEvent,
  pmc_is_enabled: intelPmcIsEnabled,
  pmc_idx_to_pmc: intelPmcIdxToPmc,
  msr_idx_to_pmc: intelMsrIdxToPmc,
  is_valid_msr_idx: intelIsValidMsrIdx,
  is_valid_msr: intelIsValidMsr,
  get_msr: intelPmuGetMsr,
  set_msr: intelPmuSetMsr,
  refresh: intelPmuRefresh,
  init: intelPmuInit,
  reset: intelPmuReset,
};
