import { REG } from "../contract/index.js";
import { registerReadU32, registerWriteU32 } from "../registers/cache.js";
import type { VcpuState } from "../state/vcpu-state.js";

/** kvm_pmu_init, _reset, _refresh: the counters are the backend's (pmu.c). */
export function pmuInit(vcpu: VcpuState): void {
  vcpu.kvm.ops.pmu_ops.init(vcpu);
  pmuRefresh(vcpu);
}

export function pmuReset(vcpu: VcpuState): void {
  vcpu.kvm.ops.pmu_ops.reset(vcpu);
}

export function pmuRefresh(vcpu: VcpuState): void {
  vcpu.kvm.ops.pmu_ops.refresh(vcpu);
}

/** kvm_rdpmc: true = refused. Bit 31 of ECX asks for the low 32 bits only. */
export function rdpmc(vcpu: VcpuState): boolean {
  const index = registerReadU32(vcpu, REG.RCX);
  const value = readPmc(vcpu, index);
  if (value === undefined) return true;
  registerWriteU32(vcpu, REG.RAX, Number(value & 0xffffffffn));
  registerWriteU32(vcpu, REG.RDX, Number((value >> 32n) & 0xffffffffn));
  return false;
}

/** kvm_pmu_rdpmc: the counter, or undefined for #GP. */
export function readPmc(vcpu: VcpuState, index: number): bigint | undefined {
  const { pmu_ops } = vcpu.kvm.ops;
  // A vCPU without counters has none to name, and so nothing to ask the backend for.
  if (vcpu.arch.pmu.version === 0 || pmu_ops.is_valid_msr_idx(vcpu, index)) return undefined;
  const pmc = pmu_ops.msr_idx_to_pmc(vcpu, index);
  if (pmc === undefined) return undefined;
  return (index & 0x80000000) !== 0 ? pmc.counter & 0xffffffffn : pmc.counter;
}
