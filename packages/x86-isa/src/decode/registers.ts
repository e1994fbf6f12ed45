import { SEGMENT_NAMES, slot, GPR_NAMES, X87_NUMBERS, XMM_NUMBERS } from "../state/layout.js";

/**
 * What an iced-x86 `Register` number names. Its general registers are four runs in encoding order: 8-bit (with the
 * high-byte registers AH, CH, DH, BH between BL and SPL), 16-bit, 32-bit, 64-bit.
 */
const AL = 1;
const AH = 5;
const SPL = 9;
const AX = 21;
const EAX = 37;
const RAX = 53;
const EIP = 69;
const RIP = 70;
const ES = 71;
const GS = 76;
const XMM0 = 77;
const MM0 = 225;

export const NO_REGISTER = 0;

/** A general register or part of one. */
export interface GeneralRegister {
  /** Encoding, 0 (RAX) to 15 (R15); of AH the one of RAX. */
  readonly index: number;
  readonly size: 1 | 2 | 4 | 8;
  /** It is AH, CH, DH or BH. */
  readonly high: boolean;
}

const GENERAL: readonly GeneralRegister[] = Array.from({ length: EIP - AL }, (_, i): GeneralRegister => {
  const register = i + AL;
  if (register < AH) return { index: register - AL, size: 1, high: false };
  if (register < SPL) return { index: register - AH, size: 1, high: true };
  if (register < AX) return { index: register - SPL + 4, size: 1, high: false };
  if (register < EAX) return { index: register - AX, size: 2, high: false };
  if (register < RAX) return { index: register - EAX, size: 4, high: false };
  return { index: register - RAX, size: 8, high: false };
});

/** The general register that an iced-x86 `Register` names, if it names one. */
export function generalRegister(register: number): GeneralRegister | undefined {
  return GENERAL[register - AL];
}

/** Segment register by encoding (0 ES, 1 CS, 2 SS, 3 DS, 4 FS, 5 GS), -1 if `register` names none. */
export function segmentRegister(register: number): number {
  return register >= ES && register <= GS ? register - ES : -1;
}

/** Encoding of an XMM register, -1 if `register` names none. */
export function xmmRegister(register: number): number {
  return register >= XMM0 && register < XMM0 + 32 ? register - XMM0 : -1;
}

/** Number of an MMX register, -1 if `register` names none. */
export function mmxRegister(register: number): number {
  return register >= MM0 && register < MM0 + 8 ? register - MM0 : -1;
}

/** Whether `register` is the instruction pointer as base of an address (EIP or RIP). */
export function isInstructionPointer(register: number): boolean {
  return register === EIP || register === RIP;
}

/** State offsets of the general registers by encoding. */
export const GPR_SLOTS: readonly number[] = GPR_NAMES.map((name) => slot(name));

/** State offsets of the segment bases by encoding of the segment register. */
export const SEGMENT_BASE_SLOTS: readonly number[] = SEGMENT_NAMES.map((name) => slot(`${name}.base`));

/** State offsets of the XMM registers by number. */
export const XMM_SLOTS: readonly number[] = XMM_NUMBERS.map((n) => slot(`xmm${n}`));

/**
 * State offsets of the MMX registers by number: each is the significand of the x87 register with the same physical
 * number (SDM vol. 1, "MMX State").
 */
export const MMX_SLOTS: readonly number[] = X87_NUMBERS.map((n) => slot(`st${n}`));
