import type { CpuState } from "./cpu-state.js";
import { slot } from "./layout.js";

/** Offsets in an FXSAVE image, which is also the legacy region of an XSAVE area (SDM vol. 1, "FXSAVE Area"). */
export const FX_IMAGE = {
  FCW: 0,
  FIP: 8,
  FDP: 16,
  MXCSR: 24,
  MXCSR_MASK: 28,
  ST0: 32,
  XMM0: 160,
  /** End of XMM15. */
  END: 416,
} as const;

/** Bytes of the memory operand of FXSAVE. What follows the registers is for software. */
export const FX_IMAGE_BYTES = 512;

/** Bits that MXCSR has (SDM vol. 1, "Checking for the DAZ Flag in the MXCSR Register"). */
export const MXCSR_MASK = 0xffff;
/** MXCSR after reset: all exceptions masked, round to nearest. */
export const MXCSR_RESET = 0x1f80;
/** The x87 control word after FNINIT: all exceptions masked, 64 bits of precision, round to nearest. */
export const FCW_RESET = 0x37f;
/** Bits 6 and 13 to 15 of the control word do not store; bit 6 reads as 1. */
export const FCW_WRITABLE = 0x1f3f;
export const FCW_FIXED = 0x40;
const FOP_BITS = 0x7ff;

/** Fields of the x87 status word (SDM vol. 1, "x87 FPU Status Register"). */
export const FSW = {
  IE: 1 << 0,
  DE: 1 << 1,
  ZE: 1 << 2,
  OE: 1 << 3,
  UE: 1 << 4,
  PE: 1 << 5,
  SF: 1 << 6,
  ES: 1 << 7,
  C0: 1 << 8,
  C1: 1 << 9,
  C2: 1 << 10,
  TOP: 7 << 11,
  C3: 1 << 14,
  B: 1 << 15,
  /** IE to PE: masked by the bits of the control word in the same places. */
  EXCEPTIONS: 0x3f,
} as const;
export const FSW_TOP_SHIFT = 11;

const AT = {
  fcw: slot("fcw"),
  fsw: slot("fsw"),
  ftw: slot("ftw"),
  fop: slot("fop"),
  fip: slot("fip"),
  fdp: slot("fdp"),
  mxcsr: slot("mxcsr"),
  st0: slot("st0"),
  xmm0: slot("xmm0"),
} as const;

const HEADER_BYTES = FX_IMAGE.MXCSR;
const REGISTER_BYTES = 16;
/** Bytes of a register of the x87 that mean something. */
const F80_BYTES = 10;
const ST_COUNT = 8;
const ST_BYTES = ST_COUNT * REGISTER_BYTES;
if (AT.fdp + 8 - AT.fcw !== HEADER_BYTES) throw new RangeError("the x87 fields of the state are not contiguous");

const bytesOf = (s: CpuState, offset: number, length: number): Uint8Array =>
  new Uint8Array(s.buffer, s.base + offset, length);

/** The control word as FLDCW loads it. */
export const controlWord = (value: number): number => (value & FCW_WRITABLE) | FCW_FIXED;

/** The status word with ES and B as the exception flags and their masks have them. */
export function statusWord(fsw: number, fcw: number): number {
  const pending = (fsw & ~fcw & FSW.EXCEPTIONS) !== 0;
  return pending ? fsw | FSW.ES | FSW.B : fsw & ~(FSW.ES | FSW.B);
}

/**
 * Store the x87 part of an image: bytes 0 to 23 and ST(0) to ST(7).
 *
 * @param wide with instruction and data pointers of 64 bits. Otherwise they have 32, and the selectors beside them are
 *   0 (SDM vol. 2, "CPUID", leaf 07H: deprecates FPU CS and FPU DS values)
 */
export function storeX87(s: CpuState, image: Uint8Array, wide: boolean): void {
  image.set(bytesOf(s, AT.fcw, HEADER_BYTES));
  if (!wide) {
    image.fill(0, FX_IMAGE.FIP + 4, FX_IMAGE.FDP);
    image.fill(0, FX_IMAGE.FDP + 4, FX_IMAGE.MXCSR);
  }
  const registers = bytesOf(s, AT.st0, ST_BYTES);
  const top = topBytes(s);
  image.set(registers.subarray(top), FX_IMAGE.ST0);
  image.set(registers.subarray(0, top), FX_IMAGE.XMM0 - top);
}

/** Load what {@link storeX87} stores. ES and B follow from the flags. */
export function loadX87(s: CpuState, image: Uint8Array, wide: boolean): void {
  const header = bytesOf(s, AT.fcw, HEADER_BYTES);
  header.set(image.subarray(0, HEADER_BYTES));
  if (!wide) {
    header.fill(0, FX_IMAGE.FIP + 4, FX_IMAGE.FDP);
    header.fill(0, FX_IMAGE.FDP + 4, FX_IMAGE.MXCSR);
  }
  const { view } = s;
  const fcw = controlWord(view.getUint16(AT.fcw, true));
  view.setUint16(AT.fcw, fcw, true);
  view.setUint16(AT.fsw, statusWord(view.getUint16(AT.fsw, true), fcw), true);
  view.setUint8(AT.ftw + 1, 0);
  view.setUint16(AT.fop, view.getUint16(AT.fop, true) & FOP_BITS, true);
  const registers = bytesOf(s, AT.st0, ST_BYTES);
  const top = topBytes(s);
  registers.set(image.subarray(FX_IMAGE.ST0, FX_IMAGE.XMM0 - top), top);
  registers.set(image.subarray(FX_IMAGE.XMM0 - top, FX_IMAGE.XMM0));
  for (let at = F80_BYTES; at < ST_BYTES; at += REGISTER_BYTES) registers.fill(0, at, at + REGISTER_BYTES - F80_BYTES);
}

/** Bytes before ST(0) among the registers. */
function topBytes(s: CpuState): number {
  return ((s.view.getUint16(AT.fsw, true) & FSW.TOP) >> FSW_TOP_SHIFT) * REGISTER_BYTES;
}

/** FNINIT; and the registers, which it leaves, are zero as XRSTOR initializes them. */
export function initX87(s: CpuState): void {
  bytesOf(s, AT.fcw, HEADER_BYTES).fill(0);
  bytesOf(s, AT.st0, ST_BYTES).fill(0);
  s.view.setUint16(AT.fcw, FCW_RESET, true);
}

/** The x87 is as {@link initX87} leaves it. */
export function isInitialX87(s: CpuState): boolean {
  const header = bytesOf(s, AT.fcw, HEADER_BYTES);
  return (
    s.view.getUint16(AT.fcw, true) === FCW_RESET &&
    header.subarray(2).every((byte) => byte === 0) &&
    bytesOf(s, AT.st0, ST_BYTES).every((byte) => byte === 0)
  );
}

/** @param count of XMM registers: outside 64-bit mode the first eight */
export function storeXmm(s: CpuState, image: Uint8Array, count: number): void {
  image.set(bytesOf(s, AT.xmm0, count * REGISTER_BYTES), FX_IMAGE.XMM0);
}

export function loadXmm(s: CpuState, image: Uint8Array, count: number): void {
  const bytes = count * REGISTER_BYTES;
  bytesOf(s, AT.xmm0, bytes).set(image.subarray(FX_IMAGE.XMM0, FX_IMAGE.XMM0 + bytes));
}

export function initXmm(s: CpuState, count: number): void {
  bytesOf(s, AT.xmm0, count * REGISTER_BYTES).fill(0);
}

export function isInitialXmm(s: CpuState, count: number): boolean {
  return bytesOf(s, AT.xmm0, count * REGISTER_BYTES).every((byte) => byte === 0);
}

export const mxcsr = (s: CpuState): number => s.get32(AT.mxcsr);

export function setMxcsr(s: CpuState, value: number): void {
  s.set32(AT.mxcsr, value);
}

export function initMxcsr(s: CpuState): void {
  setMxcsr(s, MXCSR_RESET);
}
