import { CPUID_LEAF } from "@tapvisor/x86-isa";
import { REG, type CpuidEntry } from "../contract/index.js";
import { registerReadU32, registerWriteU32 } from "../registers/cache.js";
import type { VcpuState } from "../state/vcpu-state.js";

const NOTHING = { eax: 0, ebx: 0, ecx: 0, edx: 0 } as const;

/**
 * kvm_cpuid: what CPUID answers in the guest. A leaf above the maximum of its range answers as the highest basic leaf
 * does (SDM vol. 2, "CPUID").
 */
export function cpuidOf(
  vcpu: VcpuState,
  leaf: number,
  subleaf: number,
): Readonly<Omit<CpuidEntry, "function" | "index" | "significantIndex">> {
  return vcpu.cpuid.find(leaf, subleaf) ?? outOfRange(vcpu, leaf, subleaf) ?? NOTHING;
}

function outOfRange(vcpu: VcpuState, leaf: number, subleaf: number): CpuidEntry | undefined {
  const max = vcpu.cpuid.find((leaf & 0x80000000) >>> 0, 0);
  if (max === undefined || max.eax >= leaf) return undefined;
  const basic = vcpu.cpuid.find(CPUID_LEAF.VENDOR, 0);
  return basic && vcpu.cpuid.find(basic.eax, subleaf);
}

/** kvm_emulate_cpuid. Makes no bigint: it is the exit that guests take most. */
export function emulateCpuid(vcpu: VcpuState): void {
  const answer = cpuidOf(vcpu, registerReadU32(vcpu, REG.RAX), registerReadU32(vcpu, REG.RCX));
  registerWriteU32(vcpu, REG.RAX, answer.eax);
  registerWriteU32(vcpu, REG.RBX, answer.ebx);
  registerWriteU32(vcpu, REG.RCX, answer.ecx);
  registerWriteU32(vcpu, REG.RDX, answer.edx);
  vcpu.kvm.ops.skip_emulated_instruction(vcpu);
}
