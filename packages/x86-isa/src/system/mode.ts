import type { CpuState, SegmentState } from "../state/cpu-state.js";
import { slot, type SegmentName } from "../state/layout.js";
import { GuestException, type ExecutionEnvironment } from "../environment.js";
import { CR0, EFER, RFLAGS, RFLAGS_IOPL_SHIFT } from "../tables/registers.js";
import { SEGMENT_RIGHTS, SEGMENT_RIGHTS_DPL_SHIFT } from "../tables/segments.js";
import { VECTOR } from "../tables/vectors.js";

/** State offsets that system instructions use. */
export const SLOT = {
  rip: slot("rip"),
  flagsRest: slot("flagsRest"),
  currentRip: slot("currentRip"),
  nextRip: slot("nextRip"),
  cr0: slot("cr0"),
  cr3: slot("cr3"),
  cr4: slot("cr4"),
  efer: slot("efer"),
  xcr0: slot("xcr0"),
  dr6: slot("dr6"),
  dr7: slot("dr7"),
  gdtrBase: slot("gdtr.base"),
  gdtrLimit: slot("gdtr.limit"),
  idtrBase: slot("idtr.base"),
  idtrLimit: slot("idtr.limit"),
  sysenterCs: slot("sysenter_cs"),
  sysenterEsp: slot("sysenter_esp"),
  sysenterEip: slot("sysenter_eip"),
  star: slot("star"),
  lstar: slot("lstar"),
  cstar: slot("cstar"),
  sfmask: slot("sfmask"),
  kernelGsBase: slot("kernel_gs_base"),
  tscAux: slot("tsc_aux"),
  pkru: slot("pkru"),
  interruptibility: slot("interruptibility"),
  pendingDebug: slot("pendingDebug"),
  csRights: slot("cs.rights"),
  ssRights: slot("ss.rights"),
} as const;

/** General registers by their encoding. */
export const GPR = { RAX: 0, RCX: 1, RDX: 2, RBX: 3, RSP: 4, RBP: 5, RSI: 6, RDI: 7, R11: 11 } as const;

export const cr0 = (s: CpuState): bigint => s.get64(SLOT.cr0);
export const cr4 = (s: CpuState): bigint => s.get64(SLOT.cr4);
export const isProtected = (s: CpuState): boolean => (cr0(s) & CR0.PE) !== 0n;
export const isVirtual8086 = (s: CpuState): boolean => (s.get64(SLOT.flagsRest) & RFLAGS.VM) !== 0n;
/** IA-32e mode: 64-bit mode or compatibility mode. */
export const isLongMode = (s: CpuState): boolean => (s.get64(SLOT.efer) & EFER.LMA) !== 0n;
export const is64Bit = (s: CpuState): boolean => isLongMode(s) && (s.get32(SLOT.csRights) & SEGMENT_RIGHTS.L) !== 0;
/** Protected mode and not virtual-8086 mode: selectors name descriptors. */
export const usesDescriptors = (s: CpuState): boolean => isProtected(s) && !isVirtual8086(s);

/** The current privilege level. It is the DPL of SS, as VT-x defines it (SDM vol. 3, "Guest Register State"). */
export function cpl(s: CpuState): number {
  if (!isProtected(s)) return 0;
  if (isVirtual8086(s)) return 3;
  return (s.get32(SLOT.ssRights) & SEGMENT_RIGHTS.DPL) >> SEGMENT_RIGHTS_DPL_SHIFT;
}

export const iopl = (s: CpuState): number => Number((s.get64(SLOT.flagsRest) & RFLAGS.IOPL) >> RFLAGS_IOPL_SHIFT);

export const dplOf = (rights: number): number => (rights & SEGMENT_RIGHTS.DPL) >> SEGMENT_RIGHTS_DPL_SHIFT;
export const isUsable = (rights: number): boolean => (rights & SEGMENT_RIGHTS.UNUSABLE) === 0;

/** Bytes of the stack pointer in use: the stack-address size. */
export function stackAddressBytes(s: CpuState): 2 | 4 | 8 {
  if (is64Bit(s)) return 8;
  return (s.get32(SLOT.ssRights) & SEGMENT_RIGHTS.DB) !== 0 ? 4 : 2;
}

export const maskOf = (bytes: number): bigint => (1n << BigInt(bytes * 8)) - 1n;

/** 48-bit canonical form (4-level paging). */
export function isCanonical(address: bigint): boolean {
  return BigInt.asUintN(64, BigInt.asIntN(48, address)) === BigInt.asUintN(64, address);
}

/** Lowest form of a fault: throw with its error code. */
export function fault(vector: number, errorCode?: number): never {
  throw new GuestException(vector, errorCode);
}
export const generalProtection = (errorCode = 0): never => fault(VECTOR.GP, errorCode);
export const undefinedOpcode = (): never => fault(VECTOR.UD);

/** #GP(0) unless CPL is 0. Real mode has CPL 0, virtual-8086 mode 3. */
export function requireCpl0(s: CpuState): void {
  if (cpl(s) !== 0) generalProtection();
}

/** #UD in real and virtual-8086 mode. */
export function requireDescriptors(s: CpuState): void {
  if (!usesDescriptors(s)) undefinedOpcode();
}

/** A segment register as real and virtual-8086 mode load it: base from the selector, the rest as the mode has it. */
export function loadRealSegment(m: ExecutionEnvironment, name: SegmentName, selector: number): void {
  const s = m.state;
  const old = s.segment(name);
  const v86 = isProtected(s) && isVirtual8086(s);
  // Real mode changes base and selector only, except that CS becomes an accessed, writable data segment of DPL 0.
  const loaded: SegmentState = {
    selector,
    base: BigInt(selector) << 4n,
    limit: v86 ? 0xffff : old.limit,
    rights: v86 ? 0xf3 : (old.rights & (SEGMENT_RIGHTS.DB | SEGMENT_RIGHTS.G)) | 0x93,
  };
  s.setSegment(name, loaded);
  m.modeChanged();
}

/** RFLAGS with the bits of `mask` taken from `value`. */
export function setFlags(m: ExecutionEnvironment, value: bigint, mask: bigint): void {
  const s = m.state;
  const old = s.rflags;
  const next = (old & ~mask) | (value & mask);
  s.rflags = next;
  // CPL and the meaning of selectors depend on VM, the paging permissions on AC.
  if (((old ^ next) & (RFLAGS.AC | RFLAGS.VM)) !== 0n) m.modeChanged();
}
