import { CR0, CR4, EFER } from "@tapvisor/x86-isa";
import { REG, type CsBits } from "../contract/index.js";
import { lapicCr8 } from "../irqchip/lapic-vectors.js";
import type { VcpuState } from "../state/vcpu-state.js";

/** Bits that a backend may ever let the guest own: KVM_POSSIBLE_CR0_GUEST_BITS, _CR4_GUEST_BITS. */
const POSSIBLE_CR0_GUEST_BITS = CR0.TS;
const POSSIBLE_CR4_GUEST_BITS = CR4.PVI | CR4.DE | CR4.PCE | CR4.OSFXSR | CR4.OSXMMEXCPT | CR4.PGE;

const ALL = (1n << 64n) - 1n;

export function readCr0(vcpu: VcpuState, mask: bigint = ALL): bigint {
  const { arch } = vcpu;
  if ((mask & POSSIBLE_CR0_GUEST_BITS & arch.cr0GuestOwnedBits) !== 0n) vcpu.kvm.ops.decache_cr0_guest_bits(vcpu);
  return arch.cr0 & mask;
}

export function readCr3(vcpu: VcpuState): bigint {
  if ((vcpu.arch.regsAvail & (1 << REG.CR3)) === 0) vcpu.kvm.ops.decache_cr3(vcpu);
  return vcpu.arch.cr3;
}

export function readCr4(vcpu: VcpuState, mask: bigint = ALL): bigint {
  const { arch } = vcpu;
  if ((mask & POSSIBLE_CR4_GUEST_BITS & arch.cr4GuestOwnedBits) !== 0n) vcpu.kvm.ops.decache_cr4_guest_bits(vcpu);
  return arch.cr4 & mask;
}

export function isProtectedMode(vcpu: VcpuState): boolean {
  return readCr0(vcpu, CR0.PE) !== 0n;
}

export function isPaging(vcpu: VcpuState): boolean {
  return readCr0(vcpu, CR0.PG) !== 0n;
}

export function isPae(vcpu: VcpuState): boolean {
  return readCr4(vcpu, CR4.PAE) !== 0n;
}

/** IA-32e mode: EFER.LMA. */
export function isLongMode(vcpu: VcpuState): boolean {
  return (vcpu.arch.efer & EFER.LMA) !== 0n;
}

/** Default operand size and 64-bit mode of CS. The result is good until the next call. */
export function csBits(vcpu: VcpuState): CsBits {
  vcpu.kvm.ops.get_cs_db_l_bits(vcpu, vcpu.csBits);
  return vcpu.csBits;
}

/** IA-32e mode with a 64-bit code segment. */
export function is64BitMode(vcpu: VcpuState): boolean {
  return isLongMode(vcpu) && csBits(vcpu).l;
}

export function getCr8(vcpu: VcpuState): bigint {
  return vcpu.lapic ? BigInt(lapicCr8(vcpu.lapic)) : vcpu.arch.cr8;
}
