import { MEMORY_TYPE, MSR } from "@tapvisor/x86-isa";
import type { VcpuState } from "../state/vcpu-state.js";

/** KVM_NR_VAR_MTRR: variable ranges, each a base and a mask. */
const VARIABLE_RANGES = 8;
const VARIABLE_END = MSR.IA32_MTRR_PHYSBASE0 + 2 * VARIABLE_RANGES;
/** Fixed ranges, write-combining, and the number of variable ones. */
const MTRRCAP = BigInt(0x500 | VARIABLE_RANGES);

const DEF_TYPE_ENABLE = 1n << 11n;
const DEF_TYPE_FIXED_ENABLE = 1n << 10n;
const MASK_VALID = 1n << 11n;

/** The fixed-range MTRRs: first address and bytes of each of their eight parts. */
const FIXED: readonly { readonly msr: number; readonly start: number; readonly unit: number }[] = [
  { msr: MSR.IA32_MTRR_FIX64K_00000, start: 0, unit: 0x10000 },
  { msr: MSR.IA32_MTRR_FIX16K_80000, start: 0x80000, unit: 0x4000 },
  { msr: MSR.IA32_MTRR_FIX16K_A0000, start: 0xa0000, unit: 0x4000 },
  ...Array.from({ length: 8 }, (_, i) => ({
    msr: MSR.IA32_MTRR_FIX4K_C0000 + i,
    start: 0xc0000 + i * 0x8000,
    unit: 0x1000,
  })),
];
/** The fixed ranges lie below 1 MiB. */
const FIXED_END = 0x100000;
const FIXED_MSRS = new Set(FIXED.map((range) => range.msr));

const isMtrrType = (type: number): boolean => ((0x73 >> type) & 1) === 1 && type < 8;
const isPatType = (type: number): boolean => ((0xf3 >> type) & 1) === 1 && type < 8;
const bytesOf = (value: bigint): number[] =>
  Array.from({ length: 8 }, (_, i) => Number((value >> BigInt(8 * i)) & 0xffn));

const isVariable = (msr: number): boolean => msr >= MSR.IA32_MTRR_PHYSBASE0 && msr < VARIABLE_END;

/** kvm_mtrr_valid: may the MSR take this value? IA32_PAT is checked by the same rules. */
export function mtrrValid(vcpu: VcpuState, msr: number, data: bigint): boolean {
  if (msr === MSR.IA32_PAT) return bytesOf(data).every(isPatType);
  if (msr === MSR.IA32_MTRR_DEF_TYPE) return (data & ~0xcffn) === 0n && isMtrrType(Number(data & 0xffn));
  if (FIXED_MSRS.has(msr)) return bytesOf(data).every(isMtrrType);
  if (!isVariable(msr) || data >> BigInt(vcpu.arch.maxPhysAddrBits) !== 0n) return false;
  const isBase = (msr & 1) === 0;
  return isBase ? (data & 0xf00n) === 0n && isMtrrType(Number(data & 0xffn)) : (data & 0x7ffn) === 0n;
}

/** kvm_mtrr_set_msr: true = refused. */
export function setMtrr(vcpu: VcpuState, msr: number, data: bigint): boolean {
  if (!mtrrValid(vcpu, msr, data)) return true;
  if (msr === MSR.IA32_PAT) vcpu.arch.pat = data;
  else vcpu.arch.mtrrs.set(msr, data);
  return false;
}

/** kvm_mtrr_get_msr: the value, or undefined where there is no such register. */
export function getMtrr(vcpu: VcpuState, msr: number): bigint | undefined {
  if (msr === MSR.IA32_MTRRCAP) return MTRRCAP;
  if (msr === MSR.IA32_PAT) return vcpu.arch.pat;
  if (msr !== MSR.IA32_MTRR_DEF_TYPE && !FIXED_MSRS.has(msr) && !isVariable(msr)) return undefined;
  return vcpu.arch.mtrrs.get(msr) ?? 0n;
}

/** kvm_mtrr_check_gfn_range_consistency: do the MTRRs give one memory type to all of an aligned range of frames? */
export function mtrrConsistent(vcpu: VcpuState, gfn: number, frames: number): boolean {
  const { mtrrs } = vcpu.arch;
  const defType = mtrrs.get(MSR.IA32_MTRR_DEF_TYPE) ?? 0n;
  if ((defType & DEF_TYPE_ENABLE) === 0n) return true;
  const hasFixed = (defType & DEF_TYPE_FIXED_ENABLE) !== 0n && gfn * 4096 < FIXED_END;
  // A variable range whose mask looks at bits within the frames may end among them.
  const inner = BigInt((frames - 1) * 4096);
  const isSplit = Array.from(
    { length: VARIABLE_RANGES },
    (_, i) => mtrrs.get(MSR.IA32_MTRR_PHYSMASK0 + 2 * i) ?? 0n,
  ).some((mask) => (mask & MASK_VALID) !== 0n && (mask & inner) !== 0n);
  if (!hasFixed && !isSplit) return true;
  const type = guestMemoryType(vcpu, gfn);
  for (let i = 1; i < frames; i++) if (guestMemoryType(vcpu, gfn + i) !== type) return false;
  return true;
}

/** kvm_mtrr_get_guest_memory_type (SDM vol. 3, "MTRR Precedences"). */
export function guestMemoryType(vcpu: VcpuState, gfn: number): number {
  const { mtrrs, maxPhysAddrBits } = vcpu.arch;
  const defType = mtrrs.get(MSR.IA32_MTRR_DEF_TYPE) ?? 0n;
  // Without any MTRR written the firmware has not run: write-back, as KVM assumes then too.
  if (mtrrs.size === 0) return MEMORY_TYPE.WB;
  if ((defType & DEF_TYPE_ENABLE) === 0n) return MEMORY_TYPE.UC;
  const address = gfn * 4096;
  if ((defType & DEF_TYPE_FIXED_ENABLE) !== 0n && address < FIXED_END) {
    const range = FIXED.findLast((candidate) => candidate.start <= address);
    if (range) return bytesOf(mtrrs.get(range.msr) ?? 0n)[Math.floor((address - range.start) / range.unit)];
  }
  const addressMask = ((1n << BigInt(maxPhysAddrBits)) - 1n) & ~0xfffn;
  let type = -1;
  for (let i = 0; i < VARIABLE_RANGES; i++) {
    const base = mtrrs.get(MSR.IA32_MTRR_PHYSBASE0 + 2 * i) ?? 0n;
    const mask = mtrrs.get(MSR.IA32_MTRR_PHYSMASK0 + 2 * i) ?? 0n;
    if ((mask & MASK_VALID) === 0n || ((BigInt(address) ^ base) & mask & addressMask) !== 0n) continue;
    const candidate = Number(base & 0xffn);
    if (candidate === MEMORY_TYPE.UC) return MEMORY_TYPE.UC;
    if (type === -1 || type === candidate) type = candidate;
    // Overlapping write-through and write-back give write-through; any other pair is undefined, and UC is the safe one.
    else if (type + candidate === MEMORY_TYPE.WT + MEMORY_TYPE.WB) type = MEMORY_TYPE.WT;
    else return MEMORY_TYPE.UC;
  }
  return type === -1 ? Number(defType & 0xffn) : type;
}
