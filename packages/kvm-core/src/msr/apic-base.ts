import { APIC_BASE, CPUID } from "@tapvisor/x86-isa";
import type { MsrAccess } from "../contract/index.js";
import { cpuidHas } from "../cpuid/features.js";
import { setLapicBase } from "../irqchip/lapic-state.js";
import type { VcpuState } from "../state/vcpu-state.js";

const MODE = APIC_BASE.ENABLE | APIC_BASE.X2APIC_ENABLE;
/** Bits 9 and 7:0. */
const RESERVED = 0x2ffn;

/** kvm_set_apic_base: the transitions of SDM vol. 3, "x2APIC State Transitions". True = refused. */
export function setApicBase(vcpu: VcpuState, msr: MsrAccess): boolean {
  const { arch } = vcpu;
  const before = arch.apicBase & MODE;
  const after = msr.data & MODE;
  if (!msr.hostInitiated) {
    const x2apic = cpuidHas(vcpu, CPUID.X2APIC) ? 0n : APIC_BASE.X2APIC_ENABLE;
    if ((msr.data & (RESERVED | x2apic)) !== 0n || msr.data >> BigInt(arch.maxPhysAddrBits) !== 0n) return true;
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
