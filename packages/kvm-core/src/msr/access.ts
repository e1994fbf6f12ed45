import { MSR } from "@tapvisor/x86-isa";
import type { MsrAccess } from "../contract/index.js";
import type { VcpuState } from "../state/vcpu-state.js";
import { msrRow } from "./rows.js";

/** kvm_set_msr: the checks that hold for every backend, then the op. True = refused. */
export function setMsr(vcpu: VcpuState, msr: MsrAccess): boolean {
  if (msrRow(msr.index)?.check?.(msr) === true) return true;
  return vcpu.kvm.ops.set_msr(vcpu, msr);
}

/** kvm_get_msr: true = refused. */
export function getMsr(vcpu: VcpuState, msr: MsrAccess): boolean {
  return vcpu.kvm.ops.get_msr(vcpu, msr);
}

/** kvm_get_msr_common: true = refused. */
export function getMsrCommon(vcpu: VcpuState, msr: MsrAccess): boolean {
  const data = read(vcpu, msr);
  if (data === undefined) return true;
  msr.data = data;
  return false;
}

function read(vcpu: VcpuState, msr: MsrAccess): bigint | undefined {
  const { ops, host } = vcpu.kvm;
  const row = msrRow(msr.index);
  if (row?.read !== undefined) return row.read(vcpu, msr);
  if (ops.pmu_ops.is_valid_msr(vcpu, msr.index)) return ops.pmu_ops.get_msr(vcpu, msr) ? undefined : msr.data;
  if (isLegacyCounter(msr.index)) return 0n;
  return host.options.ignoreMsrs ? 0n : undefined;
}

/** kvm_set_msr_common: true = refused. */
export function setMsrCommon(vcpu: VcpuState, msr: MsrAccess): boolean {
  const { ops, host } = vcpu.kvm;
  const row = msrRow(msr.index);
  if (row?.write !== undefined) return row.write(vcpu, msr);
  if (ops.pmu_ops.is_valid_msr(vcpu, msr.index)) return ops.pmu_ops.set_msr(vcpu, msr);
  if (isLegacyCounter(msr.index)) return false;
  return !host.options.ignoreMsrs;
}

/** Counters of processors without an architectural PMU: where the backend has none, they read 0, and writes are dropped. */
function isLegacyCounter(msr: number): boolean {
  return (
    (msr >= MSR.K7_EVNTSEL0 && msr <= MSR.K7_PERFCTR3) ||
    (msr >= MSR.IA32_PMC0 && msr <= MSR.IA32_PMC1) ||
    (msr >= MSR.IA32_PERFEVTSEL0 && msr <= MSR.IA32_PERFEVTSEL1)
  );
}
