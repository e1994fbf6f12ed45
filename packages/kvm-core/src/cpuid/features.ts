import { type CpuidFeature, CPUID_LEAF, CPUID_FEATURES } from "@tapvisor/x86-isa";
import type { CpuidEntry } from "../contract/index.js";
import type { VcpuState } from "../state/vcpu-state.js";

export function findCpuidEntry(vcpu: VcpuState, leaf: number, subleaf: number): CpuidEntry | undefined {
  return vcpu.cpuid.find(leaf, subleaf);
}

/** guest_cpuid_has_*. */
export function cpuidHas(vcpu: VcpuState, feature: CpuidFeature): boolean {
  const entry = vcpu.cpuid.find(feature.leaf, feature.subleaf);
  return entry !== undefined && ((entry[feature.register] >>> feature.bit) & 1) === 1;
}

const FEATURE_BY_NAME = new Map(CPUID_FEATURES.map((feature) => [feature.name, feature]));

/** The same by the feature's name in the table; false for a name that it does not have. */
export function cpuidHasNamed(vcpu: VcpuState, name: string): boolean {
  const feature = FEATURE_BY_NAME.get(name);
  return feature !== undefined && cpuidHas(vcpu, feature);
}

/** Set or clear a feature's bit in an entry of its leaf. */
export function setFeature(entry: CpuidEntry, feature: CpuidFeature, on: boolean): void {
  const bit = 1 << feature.bit;
  entry[feature.register] = (on ? entry[feature.register] | bit : entry[feature.register] & ~bit) >>> 0;
}

/** cpuid_query_maxphyaddr: 36 bits where CPUID does not say. */
export function maxPhysAddr(vcpu: VcpuState): number {
  const max = vcpu.cpuid.find(CPUID_LEAF.EXTENDED_MAX, 0);
  if (max === undefined || max.eax < CPUID_LEAF.ADDRESS_SIZES) return 36;
  return (vcpu.cpuid.find(CPUID_LEAF.ADDRESS_SIZES, 0)?.eax ?? 36) & 0xff;
}
