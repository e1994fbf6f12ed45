import { CPUID, CR0, CR3, CR4, EFER } from "@tapvisor/x86-isa";
import { REG, REQUEST } from "../contract/index.js";
import { cpuidHas } from "../cpuid/features.js";
import { updateCpuid } from "../cpuid/update.js";
import { setLapicCr8 } from "../irqchip/lapic-vectors.js";
import { mmuNewCr3, mmuResetContext } from "../mmu/context.js";
import { loadPdptrs, pdptrsChanged } from "../mmu/pdptrs.js";
import { makeRequest } from "../requests.js";
import type { VcpuState } from "../state/vcpu-state.js";
import { csBits, isLongMode, isPae, isPaging, readCr0, readCr3, readCr4 } from "./control.js";

const CR0_DEFINED = CR0.PE | CR0.MP | CR0.EM | CR0.TS | CR0.ET | CR0.NE | CR0.WP | CR0.AM | CR0.NW | CR0.CD | CR0.PG;
const CR4_DEFINED =
  CR4.VME | CR4.PVI | CR4.TSD | CR4.DE | CR4.PSE | CR4.PAE | CR4.MCE | CR4.PGE | CR4.PCE | CR4.OSFXSR |
  CR4.OSXMMEXCPT | CR4.VMXE | CR4.FSGSBASE | CR4.PCIDE | CR4.OSXSAVE | CR4.SMEP | CR4.SMAP | CR4.PKE; // prettier-ignore

/** A bit of CR4 that #GP guards while CPUID does not show the feature. */
const CR4_NEEDS_CPUID = [
  [CR4.OSXSAVE, CPUID.XSAVE],
  [CR4.SMEP, CPUID.SMEP],
  [CR4.SMAP, CPUID.SMAP],
  [CR4.FSGSBASE, CPUID.FSGSBASE],
  [CR4.PKE, CPUID.PKU],
] as const;

/** Bits whose change makes the PDPTEs of PAE paging be read again, and cached translations go. */
const CR4_PAGING_BITS = CR4.PGE | CR4.PSE | CR4.PAE | CR4.SMEP | CR4.SMAP | CR4.PKE;

const ALL_BITS = (1n << 64n) - 1n;
const HIGH_WORD = 0xffffffff_00000000n;

/** kvm_set_cr0: true = refused, the guest gets #GP(0). */
export function setCr0(vcpu: VcpuState, value: bigint): boolean {
  const { arch } = vcpu;
  const { ops } = vcpu.kvm;
  const old = readCr0(vcpu);
  let cr0 = value | CR0.ET;
  if ((cr0 & HIGH_WORD) !== 0n) return true;
  cr0 &= CR0_DEFINED;
  if ((cr0 & CR0.NW) !== 0n && (cr0 & CR0.CD) === 0n) return true;
  if ((cr0 & CR0.PG) !== 0n && (cr0 & CR0.PE) === 0n) return true;

  if (!isPaging(vcpu) && (cr0 & CR0.PG) !== 0n) {
    if ((arch.efer & EFER.LME) !== 0n) {
      if (!isPae(vcpu) || csBits(vcpu).l) return true;
    } else if (isPae(vcpu) && !loadPdptrs(vcpu, readCr3(vcpu))) {
      return true;
    }
  }
  if ((cr0 & CR0.PG) === 0n && readCr4(vcpu, CR4.PCIDE) !== 0n) return true;

  ops.set_cr0(vcpu, cr0);
  if (((cr0 ^ old) & (CR0.PG | CR0.WP)) !== 0n) mmuResetContext(vcpu);
  return false;
}

/** kvm_lmsw: sets PE but never clears it. */
export function lmsw(vcpu: VcpuState, value: number): void {
  setCr0(vcpu, readCr0(vcpu, ALL_BITS & ~0xen) | BigInt(value & 0xf));
}

/** kvm_set_cr3: true = refused. */
export function setCr3(vcpu: VcpuState, value: bigint): boolean {
  const { arch } = vcpu;
  const cr3 = value & ~CR3.NO_FLUSH;
  if (cr3 === readCr3(vcpu) && !pdptrsChanged(vcpu)) {
    makeRequest(vcpu, REQUEST.TLB_FLUSH);
    return false;
  }
  if (isLongMode(vcpu)) {
    // Reserved from the guest's physical-address width on (SDM vol. 3, "4-Level Paging"); 4.9 checks bits 63:52 alone.
    if (cr3 >> BigInt(arch.maxPhysAddrBits) !== 0n) return true;
  } else if (isPae(vcpu) && isPaging(vcpu) && !loadPdptrs(vcpu, cr3)) {
    return true;
  }
  arch.cr3 = cr3;
  arch.regsAvail |= 1 << REG.CR3;
  mmuNewCr3(vcpu);
  return false;
}

/** kvm_set_cr4: true = refused. */
export function setCr4(vcpu: VcpuState, cr4: bigint): boolean {
  const old = readCr4(vcpu);
  if ((cr4 & ~CR4_DEFINED) !== 0n) return true;
  for (const [bit, feature] of CR4_NEEDS_CPUID) {
    if ((cr4 & bit) !== 0n && !cpuidHas(vcpu, feature)) return true;
  }
  const changed = cr4 ^ old;
  if (isLongMode(vcpu)) {
    if ((cr4 & CR4.PAE) === 0n) return true;
  } else if (isPaging(vcpu) && (cr4 & CR4.PAE) !== 0n && (changed & CR4_PAGING_BITS) !== 0n) {
    if (!loadPdptrs(vcpu, readCr3(vcpu))) return true;
  }
  if ((cr4 & CR4.PCIDE) !== 0n && (old & CR4.PCIDE) === 0n) {
    if (!cpuidHas(vcpu, CPUID.PCID)) return true;
    if ((readCr3(vcpu) & CR3.PCID) !== 0n || !isLongMode(vcpu)) return true;
  }
  if (vcpu.kvm.ops.set_cr4(vcpu, cr4)) return true;

  if ((changed & CR4_PAGING_BITS) !== 0n || ((cr4 & CR4.PCIDE) === 0n && (old & CR4.PCIDE) !== 0n)) {
    mmuResetContext(vcpu);
  }
  if ((changed & (CR4.OSXSAVE | CR4.PKE)) !== 0n) updateCpuid(vcpu);
  return false;
}

/** kvm_set_cr8: true = refused. */
export function setCr8(vcpu: VcpuState, value: bigint): boolean {
  if (value > 0xfn) return true;
  if (vcpu.lapic) setLapicCr8(vcpu.lapic, Number(value));
  else vcpu.arch.cr8 = value;
  return false;
}
