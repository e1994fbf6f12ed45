import { REG } from "../contract/index.js";
import type { VcpuState } from "../state/vcpu-state.js";

/**
 * The register cache (kvm_cache_regs.h). RSP, RIP, CR3 and the PDPTEs stay in hardware until somebody asks: a miss goes
 * to the op `cache_reg` or one of the decache ops, a write marks the register for the next entry.
 */
export function registerRead(vcpu: VcpuState, reg: number): bigint {
  const { arch } = vcpu;
  if ((arch.regsAvail & (1 << reg)) === 0) vcpu.kvm.ops.cache_reg(vcpu, reg);
  return arch.regs.u64[reg] as bigint;
}

export function registerWrite(vcpu: VcpuState, reg: number, value: bigint): void {
  const { arch } = vcpu;
  arch.regs.u64[reg] = value;
  arch.regsAvail |= 1 << reg;
  arch.regsDirty |= 1 << reg;
}

/** The low word of a register, without a bigint. */
export function registerReadU32(vcpu: VcpuState, reg: number): number {
  const { arch } = vcpu;
  if ((arch.regsAvail & (1 << reg)) === 0) vcpu.kvm.ops.cache_reg(vcpu, reg);
  return arch.regs.u32[2 * reg] as number;
}

/** Write a word zero-extended to 64 bits, as every 32-bit destination is; without a bigint. */
export function registerWriteU32(vcpu: VcpuState, reg: number, value: number): void {
  const { arch } = vcpu;
  arch.regs.u32[2 * reg] = value;
  arch.regs.u32[2 * reg + 1] = 0;
  arch.regsAvail |= 1 << reg;
  arch.regsDirty |= 1 << reg;
}

export function ripRead(vcpu: VcpuState): bigint {
  return registerRead(vcpu, REG.RIP);
}

export function ripWrite(vcpu: VcpuState, value: bigint): void {
  registerWrite(vcpu, REG.RIP, value);
}
