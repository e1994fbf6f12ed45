import { APIC_BASE, CPUID, EFER, MSR } from "@tapvisor/x86-isa";
import type { MsrAccess } from "../contract/index.js";
import { cpuidHas } from "../cpuid/features.js";
import { setLapicBase } from "../irqchip/lapic-state.js";
import { mmuResetContext } from "../mmu/context.js";
import { isPaging } from "../registers/control.js";
import type { VcpuState } from "../state/vcpu-state.js";

/** True for an address whose bits 63:47 are not all equal (SDM vol. 1, "Canonical Addressing"). */
export function isNonCanonical(address: bigint): boolean {
  return BigInt.asIntN(48, address) !== BigInt.asIntN(64, address);
}

/** kvm_set_msr: the checks that hold for every backend, then the op. True = refused. */
export function setMsr(vcpu: VcpuState, msr: MsrAccess): boolean {
  switch (msr.index) {
    case MSR.IA32_FS_BASE:
    case MSR.IA32_GS_BASE:
    case MSR.IA32_KERNEL_GS_BASE:
    case MSR.IA32_CSTAR:
    case MSR.IA32_LSTAR:
      if (isNonCanonical(msr.data)) return true;
      break;
    case MSR.IA32_SYSENTER_EIP:
    case MSR.IA32_SYSENTER_ESP:
      // #GP on Intel, not on AMD; made canonical instead, so that what was written can at least be entered with.
      msr.data = BigInt.asUintN(64, BigInt.asIntN(48, msr.data));
      break;
    default:
  }
  return vcpu.kvm.ops.set_msr(vcpu, msr);
}

/** kvm_get_msr: true = refused. */
export function getMsr(vcpu: VcpuState, msr: MsrAccess): boolean {
  return vcpu.kvm.ops.get_msr(vcpu, msr);
}

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

const MODE = APIC_BASE.ENABLE | APIC_BASE.X2APIC_ENABLE;

/** kvm_set_apic_base: the transitions of SDM vol. 3, "x2APIC State Transitions". True = refused. */
export function setApicBase(vcpu: VcpuState, msr: MsrAccess): boolean {
  const { arch } = vcpu;
  const before = arch.apicBase & MODE;
  const after = msr.data & MODE;
  if (!msr.hostInitiated) {
    const x2apic = cpuidHas(vcpu, CPUID.X2APIC) ? 0n : APIC_BASE.X2APIC_ENABLE;
    const reserved = 0x2ffn | x2apic;
    if ((msr.data & reserved) !== 0n || msr.data >> BigInt(arch.maxPhysAddrBits) !== 0n) return true;
    if (after === APIC_BASE.X2APIC_ENABLE) return true;
    if (after === APIC_BASE.ENABLE && before === MODE) return true;
    if (after === MODE && before === 0n) return true;
  }
  setApicBaseOnly(vcpu, msr.data);
  return false;
}

/** kvm_lapic_set_base; without an irqchip the MSR is just kept. */
export function setApicBaseOnly(vcpu: VcpuState, value: bigint): void {
  if (vcpu.lapic) setLapicBase(vcpu.lapic, value);
  else vcpu.arch.apicBase = value | APIC_BASE.BSP;
}
