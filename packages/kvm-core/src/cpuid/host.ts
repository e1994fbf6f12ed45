import { type CpuidFeature, CPUID } from "@tapvisor/x86-isa";
import type { CpuidResult } from "../contract/index.js";
import type { KvmState } from "../state/kvm-state.js";

/** CPUID of the host's processor, in root mode. */
export function hostCpuid({ host }: KvmState, leaf: number, subleaf: number): CpuidResult {
  return host.scheduler.current().cpuid(leaf, subleaf);
}

/** boot_cpu_has. */
export function hostHas(kvm: KvmState, feature: CpuidFeature): boolean {
  const { eax: max } = hostCpuid(kvm, (feature.leaf & 0x80000000) >>> 0, 0);
  if (max < feature.leaf) return false;
  return ((hostCpuid(kvm, feature.leaf, feature.subleaf)[feature.register] >>> feature.bit) & 1) === 1;
}

/** is_efer_nx: NX is on in the host. A 64-bit host has it wherever CPUID shows it. */
export function hostHasNx(kvm: KvmState): boolean {
  return hostHas(kvm, CPUID.NX);
}
