import { isPatType, MEMORY_TYPE, MSR, PAGE_SIZE } from "@tapvisor/x86-isa";
import type { VcpuState } from "../state/vcpu-state.js";
import { constant, type MsrRow, stored, storedMsr } from "./row.js";

/** KVM_NR_VAR_MTRR: variable ranges, each a base and a mask. */
const VARIABLE_RANGES = 8;
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
/** SDM vol. 3, "IA32_PAT MSR": the types that power-on leaves. */
const PAT_RESET = 0x0007_0406_0007_0406n;

const isMtrrType = (type: number): boolean => ((0x73 >> type) & 1) === 1 && type < 8;
const bytesOf = (value: bigint): number[] =>
  Array.from({ length: 8 }, (_, i) => Number((value >> BigInt(8 * i)) & 0xffn));

/** SDM vol. 3, "Memory Type Range Registers (MTRRs)": nothing is mapped until firmware has set them up. */
const everyByteIsMtrrType = (data: bigint): boolean => bytesOf(data).every(isMtrrType);
const inPhysicalAddresses = (data: bigint, { arch }: VcpuState): boolean => data >> BigInt(arch.maxPhysAddrBits) === 0n;

const variableRange = (_: unknown, i: number): MsrRow[] => [
  stored(MSR.IA32_MTRR_PHYSBASE0 + 2 * i, {
    accepts: (data, vcpu) =>
      inPhysicalAddresses(data, vcpu) && (data & 0xf00n) === 0n && isMtrrType(Number(data & 0xffn)),
  }),
  stored(MSR.IA32_MTRR_PHYSMASK0 + 2 * i, {
    accepts: (data, vcpu) => inPhysicalAddresses(data, vcpu) && (data & 0x7ffn) === 0n,
  }),
];

/** What the memory type of a page depends on. */
export const MTRR_ROWS: readonly MsrRow[] = [
  constant(MSR.IA32_MTRRCAP, MTRRCAP),
  ...Array.from({ length: VARIABLE_RANGES }, variableRange).flat(),
  ...FIXED.map(({ msr }) => stored(msr, { accepts: everyByteIsMtrrType })),
  stored(MSR.IA32_PAT, {
    reset: PAT_RESET,
    accepts: (data) => bytesOf(data).every(isPatType),
    saved: "with-host",
  }),
  stored(MSR.IA32_MTRR_DEF_TYPE, {
    accepts: (data) => (data & ~0xcffn) === 0n && isMtrrType(Number(data & 0xffn)),
  }),
];

/** kvm_mtrr_check_gfn_range_consistency: do the MTRRs give one memory type to all of an aligned range of frames? */
export function mtrrConsistent(vcpu: VcpuState, gfn: number, frames: number): boolean {
  const defType = storedMsr(vcpu, MSR.IA32_MTRR_DEF_TYPE);
  if ((defType & DEF_TYPE_ENABLE) === 0n) return true;
  const hasFixed = (defType & DEF_TYPE_FIXED_ENABLE) !== 0n && gfn * PAGE_SIZE < FIXED_END;
  // A variable range whose mask looks at bits within the frames may end among them.
  const inner = BigInt((frames - 1) * PAGE_SIZE);
  const isSplit = Array.from({ length: VARIABLE_RANGES }, (_, i) =>
    storedMsr(vcpu, MSR.IA32_MTRR_PHYSMASK0 + 2 * i),
  ).some((mask) => (mask & MASK_VALID) !== 0n && (mask & inner) !== 0n);
  if (!hasFixed && !isSplit) return true;
  const type = guestMemoryType(vcpu, gfn);
  for (let i = 1; i < frames; i++) if (guestMemoryType(vcpu, gfn + i) !== type) return false;
  return true;
}

/** kvm_mtrr_get_guest_memory_type (SDM vol. 3, "MTRR Precedences"). */
export function guestMemoryType(vcpu: VcpuState, gfn: number): number {
  const { msrs, maxPhysAddrBits } = vcpu.arch;
  // Without it the firmware has not run: write-back, as KVM assumes for guests without MTRRs.
  if (!msrs.has(MSR.IA32_MTRR_DEF_TYPE)) return MEMORY_TYPE.WB;
  const defType = storedMsr(vcpu, MSR.IA32_MTRR_DEF_TYPE);
  if ((defType & DEF_TYPE_ENABLE) === 0n) return MEMORY_TYPE.UC;
  const address = gfn * PAGE_SIZE;
  if ((defType & DEF_TYPE_FIXED_ENABLE) !== 0n && address < FIXED_END) {
    const range = FIXED.findLast((candidate) => candidate.start <= address);
    if (range)
      return bytesOf(storedMsr(vcpu, range.msr))[Math.floor((address - range.start) / range.unit)] ?? MEMORY_TYPE.UC;
  }
  const addressMask = ((1n << BigInt(maxPhysAddrBits)) - 1n) & ~0xfffn;
  let type = -1;
  for (let i = 0; i < VARIABLE_RANGES; i++) {
    const base = storedMsr(vcpu, MSR.IA32_MTRR_PHYSBASE0 + 2 * i);
    const mask = storedMsr(vcpu, MSR.IA32_MTRR_PHYSMASK0 + 2 * i);
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
