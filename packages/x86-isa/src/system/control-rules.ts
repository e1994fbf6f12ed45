import type { CpuState } from "../state/cpu-state.js";
import { slot } from "../state/layout.js";
import {
  CR0,
  CR3,
  CR4,
  DR6,
  DR6_FIXED_1,
  DR6_VOLATILE,
  DR7,
  DR7_FIXED_1,
  DR7_VOLATILE,
  EFER,
  XCR0,
} from "../tables/registers.js";
import { VECTOR } from "../tables/vectors.js";
import { SLOT, cpl, cr0, cr4, fault, generalProtection, is64Bit, isLongMode, undefinedOpcode } from "./mode.js";

/** What a processor model allows in its control registers. */
export interface ControlRegisterModel {
  /** CR4 bits that may be set; all others are reserved. */
  readonly cr4Allowed: bigint;
  readonly eferAllowed: bigint;
  readonly xcr0Allowed: bigint;
  readonly physicalAddressBits: number;
  /** Bits that VMX operation fixes: those set in fixed0 must be 1, those clear in fixed1 must be 0. */
  readonly cr0Fixed0?: bigint;
  readonly cr0Fixed1?: bigint;
  readonly cr4Fixed0?: bigint;
  readonly cr4Fixed1?: bigint;
  /** Read a page-directory-pointer-table entry at a (guest) physical address. */
  readPdpte(physical: number): bigint;
}

const PDPTE = [slot("pdpte0"), slot("pdpte1"), slot("pdpte2"), slot("pdpte3")] as const;
const UNDEFINED_CR0 = 0xffffffffn & ~Object.values(CR0).reduce((all, bit) => all | bit, 0n);

/** PAE paging is what these registers select. */
export function isPaePaging(cr0Value: bigint, cr4Value: bigint, efer: bigint): boolean {
  return (cr0Value & CR0.PG) !== 0n && (cr4Value & CR4.PAE) !== 0n && (efer & (EFER.LMA | EFER.LME)) === 0n;
}

/** The four PDPTEs of PAE paging; #GP(0) for a reserved bit in a present one (SDM vol. 3, "PDPTE Registers"). */
function readPdptes(cr3: bigint, model: ControlRegisterModel): bigint[] {
  const reserved = 0x1e6n | (0xffff_ffff_ffff_ffffn & ~((1n << BigInt(model.physicalAddressBits)) - 1n));
  const base = Number(cr3 & 0xffffffe0n);
  const entries = PDPTE.map((_, n) => model.readPdpte(base + n * 8));
  if (entries.some((entry) => (entry & 1n) !== 0n && (entry & reserved) !== 0n)) generalProtection();
  return entries;
}

function setPdptes(s: CpuState, entries: readonly bigint[]): void {
  entries.forEach((entry, n) => {
    const at = PDPTE[n];
    if (at !== undefined) s.set64(at, entry);
  });
}

function checkFixed(value: bigint, fixed0: bigint | undefined, fixed1: bigint | undefined): void {
  if (fixed0 !== undefined && (value & fixed0) !== fixed0) generalProtection();
  if (fixed1 !== undefined && (value & ~fixed1) !== 0n) generalProtection();
}

/** Load CR0 as MOV to CR0 does (SDM vol. 2, "MOV - Move to/from Control Registers"); EFER.LMA follows PG and LME. */
export function writeCr0(s: CpuState, value: bigint, model: ControlRegisterModel): void {
  if (value >> 32n !== 0n) generalProtection();
  const old = cr0(s);
  const next = (value & ~UNDEFINED_CR0) | CR0.ET;
  const efer = s.get64(SLOT.efer);
  if ((next & CR0.PG) !== 0n && (next & CR0.PE) === 0n) generalProtection();
  if ((next & CR0.NW) !== 0n && (next & CR0.CD) === 0n) generalProtection();
  checkFixed(next, model.cr0Fixed0, model.cr0Fixed1);
  let nextEfer = efer;
  if ((old & CR0.PG) === 0n && (next & CR0.PG) !== 0n && (efer & EFER.LME) !== 0n) {
    // Activation of IA-32e mode: from a 32-bit code segment, with PAE.
    if ((cr4(s) & CR4.PAE) === 0n) generalProtection();
    if ((s.get32(SLOT.csRights) & 0x2000) !== 0) generalProtection();
    nextEfer |= EFER.LMA;
  }
  if ((old & CR0.PG) !== 0n && (next & CR0.PG) === 0n) {
    if (is64Bit(s) || (cr4(s) & CR4.PCIDE) !== 0n) generalProtection();
    nextEfer &= ~EFER.LMA;
  }
  const reload = ((old ^ next) & (CR0.PG | CR0.CD | CR0.NW)) !== 0n;
  if (reload && isPaePaging(next, cr4(s), nextEfer)) setPdptes(s, readPdptes(s.get64(SLOT.cr3), model));
  s.set64(SLOT.cr0, next);
  s.set64(SLOT.efer, nextEfer);
}

/** LMSW loads PE, MP, EM and TS, and cannot clear PE. */
export function mergeMachineStatusWord(old: bigint, value: number): bigint {
  return (old & ~0xen) | (BigInt(value) & 0xfn);
}

/** Load CR3. Bit 63 is no part of it: with CR4.PCIDE it asks to keep translations, otherwise it is reserved. */
export function writeCr3(s: CpuState, value: bigint, model: ControlRegisterModel): void {
  const pcid = (cr4(s) & CR4.PCIDE) !== 0n;
  const next = pcid ? value & ~CR3.NO_FLUSH : value;
  if (next >> BigInt(model.physicalAddressBits) !== 0n) generalProtection();
  if (isPaePaging(cr0(s), cr4(s), s.get64(SLOT.efer))) setPdptes(s, readPdptes(next, model));
  s.set64(SLOT.cr3, next);
}

/** Load CR4. */
export function writeCr4(s: CpuState, value: bigint, model: ControlRegisterModel): void {
  const old = cr4(s);
  if ((value & ~model.cr4Allowed) !== 0n) generalProtection();
  checkFixed(value, model.cr4Fixed0, model.cr4Fixed1);
  const changed = old ^ value;
  if (isLongMode(s) && ((value & CR4.PAE) === 0n || (changed & CR4.LA57) !== 0n)) generalProtection();
  if ((changed & value & CR4.PCIDE) !== 0n) {
    if (!isLongMode(s) || (s.get64(SLOT.cr3) & CR3.PCID) !== 0n) generalProtection();
  }
  const reload = (changed & (CR4.PAE | CR4.PGE | CR4.PSE | CR4.SMEP)) !== 0n;
  if (reload && isPaePaging(cr0(s), value, s.get64(SLOT.efer))) setPdptes(s, readPdptes(s.get64(SLOT.cr3), model));
  s.set64(SLOT.cr4, value);
}

const CR8_SLOT = slot("cr8");

export function writeCr8(s: CpuState, value: bigint): void {
  if (value > 0xfn) generalProtection();
  s.set64(CR8_SLOT, value);
}

/** Load IA32_EFER: LMA is the processor's own, LME cannot change while paging is on. */
export function writeEfer(s: CpuState, value: bigint, model: ControlRegisterModel): void {
  const old = s.get64(SLOT.efer);
  if ((value & ~(model.eferAllowed | EFER.LMA)) !== 0n) generalProtection();
  if ((cr0(s) & CR0.PG) !== 0n && ((old ^ value) & EFER.LME) !== 0n) generalProtection();
  s.set64(SLOT.efer, (value & ~EFER.LMA) | (old & EFER.LMA));
}

/** Load XCR0 (SDM vol. 2, "XSETBV - Set Extended Control Register"). */
export function writeXcr0(s: CpuState, value: bigint, model: ControlRegisterModel): void {
  const has = (bit: bigint): boolean => (value & bit) !== 0n;
  const avx512 = XCR0.OPMASK | XCR0.ZMM_HI256 | XCR0.HI16_ZMM;
  if (!has(XCR0.X87) || (value & ~model.xcr0Allowed) !== 0n) generalProtection();
  if (has(XCR0.AVX) && !has(XCR0.SSE)) generalProtection();
  if (has(XCR0.BNDREGS) !== has(XCR0.BNDCSR)) generalProtection();
  if (has(avx512) && ((value & avx512) !== avx512 || !has(XCR0.AVX))) generalProtection();
  s.set64(SLOT.xcr0, value);
}

/** DR4 and DR5 name DR6 and DR7 unless CR4.DE; then CPL and general detect are checked, in this order. */
function debugRegister(s: CpuState, dr: number): number {
  if (dr > 7) undefinedOpcode();
  if ((dr === 4 || dr === 5) && (cr4(s) & CR4.DE) !== 0n) undefinedOpcode();
  if (cpl(s) !== 0) generalProtection();
  if ((s.get64(SLOT.dr7) & DR7.GD) !== 0n) {
    s.set64(SLOT.dr6, s.get64(SLOT.dr6) | DR6.BD);
    s.set64(SLOT.dr7, s.get64(SLOT.dr7) & ~DR7.GD);
    fault(VECTOR.DB);
  }
  return dr === 4 || dr === 5 ? dr + 2 : dr;
}

const DR_SLOTS = [slot("dr0"), slot("dr1"), slot("dr2"), slot("dr3"), 0, 0, SLOT.dr6, SLOT.dr7] as const;

/** MOV from a debug register, with all its checks. */
export function readDebugRegister(s: CpuState, dr: number): bigint {
  return s.get64(DR_SLOTS[debugRegister(s, dr)] ?? 0);
}

/** MOV to a debug register, with all its checks. */
export function writeDebugRegister(s: CpuState, dr: number, value: bigint): void {
  const n = debugRegister(s, dr);
  if (n >= 6 && value >> 32n !== 0n) generalProtection();
  const at = DR_SLOTS[n] ?? 0;
  if (n === 6) s.set64(at, (value & DR6_VOLATILE) | DR6_FIXED_1);
  else if (n === 7) s.set64(at, (value & DR7_VOLATILE) | DR7_FIXED_1);
  else s.set64(at, value);
}
