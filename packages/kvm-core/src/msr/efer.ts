import { CPUID, EFER } from "@tapvisor/x86-isa";
import { cpuidHas } from "../cpuid/features.js";
import { mmuResetContext } from "../mmu/context.js";
import { isPaging } from "../registers/control.js";
import type { VcpuState } from "../state/vcpu-state.js";

/** kvm_valid_efer: no reserved bit, and no bit of a feature that CPUID does not show. */
export function validEfer(vcpu: VcpuState, efer: bigint): boolean {
  if ((efer & vcpu.kvm.eferReservedBits) !== 0n) return false;
  if ((efer & EFER.FFXSR) !== 0n && !cpuidHas(vcpu, CPUID.FXSR_OPT)) return false;
  if ((efer & EFER.SVME) !== 0n && !cpuidHas(vcpu, CPUID.SVM)) return false;
  return true;
}

/** A write to IA32_EFER by the guest or user space: true = refused. LMA is the processor's to change. */
export function writeEfer(vcpu: VcpuState, value: bigint): boolean {
  const { arch } = vcpu;
  const old = arch.efer;
  if (!validEfer(vcpu, value)) return true;
  if (isPaging(vcpu) && (old & EFER.LME) !== (value & EFER.LME)) return true;
  const efer = (value & ~EFER.LMA) | (old & EFER.LMA);
  vcpu.kvm.ops.set_efer(vcpu, efer);
  if (((efer ^ old) & EFER.NXE) !== 0n) mmuResetContext(vcpu);
  return false;
}
