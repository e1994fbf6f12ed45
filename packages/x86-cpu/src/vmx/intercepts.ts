import {
  CPU_BASED,
  CR0,
  CR_ACCESS_TYPE,
  EXIT_REASON,
  IO_QUALIFICATION,
  IO_QUALIFICATION_PORT_SHIFT,
  type DecodedInstruction,
} from "@tapvisor/x86-isa";
import { highWord, lowWord } from "../words.js";
import { F } from "./fields.js";
import type { NonRoot } from "./non-root.js";

/** Qualification of a control-register access: register, access type, general register (SDM vol. 3, "Exit Qualification"). */
const crQualification = (cr: number, type: number, gpr: number): number => cr | (type << 4) | (gpr << 8);

const LMSW_MEMORY = 1 << 6;
const LMSW_SOURCE_SHIFT = 16;

/** MOV from CR0 or CR4 reads the shadow where the guest/host mask is set (SDM vol. 3, "Changes to Instruction Behavior"). */
export function shadowed(nonRoot: NonRoot, cr: 0 | 4, value: bigint): bigint {
  const mask = nonRoot.field64(cr === 0 ? F.CR0_GUEST_HOST_MASK : F.CR4_GUEST_HOST_MASK);
  const shadow = nonRoot.field64(cr === 0 ? F.CR0_READ_SHADOW : F.CR4_READ_SHADOW);
  return (value & ~mask) | (shadow & mask);
}

/**
 * MOV to CR0 or CR4: exit where a bit of the mask would differ from the shadow; bits of the mask keep their value.
 *
 * @returns the value to load
 */
export function interceptCrWrite(nonRoot: NonRoot, cr: 0 | 4, value: bigint, old: bigint, gpr: number): bigint {
  const mask = nonRoot.field64(cr === 0 ? F.CR0_GUEST_HOST_MASK : F.CR4_GUEST_HOST_MASK);
  const shadow = nonRoot.field64(cr === 0 ? F.CR0_READ_SHADOW : F.CR4_READ_SHADOW);
  if (((value ^ shadow) & mask) !== 0n) {
    nonRoot.instruction(EXIT_REASON.CR_ACCESS, crQualification(cr, CR_ACCESS_TYPE.MOV_TO_CR, gpr));
  }
  return (value & ~mask) | (old & mask);
}

/** MOV to CR3: exits unless the value is one of the CR3 targets. */
export function interceptCr3Write(nonRoot: NonRoot, value: bigint, gpr: number): void {
  if ((nonRoot.primary & CPU_BASED.CR3_LOAD_EXITING) === 0) return;
  const targets = nonRoot.words[F.CR3_TARGET_COUNT] as number;
  for (let n = 0; n < targets; n++) {
    if (nonRoot.field64(F.CR3_TARGET_VALUE0 + n * 2) === value) return;
  }
  nonRoot.instruction(EXIT_REASON.CR_ACCESS, crQualification(3, CR_ACCESS_TYPE.MOV_TO_CR, gpr));
}

/** MOV from CR3 or CR8, and MOV to CR8. */
export function interceptCrAccess(nonRoot: NonRoot, cr: number, control: number, type: number, gpr: number): void {
  if ((nonRoot.primary & control) === 0) return;
  nonRoot.instruction(EXIT_REASON.CR_ACCESS, crQualification(cr, type, gpr));
}

/** CLTS exits where the guest does not own TS and reads it as set; it changes nothing where it reads as clear. */
export function interceptClts(nonRoot: NonRoot): "clear" | "keep" {
  const mask = (nonRoot.words[F.CR0_GUEST_HOST_MASK] as number) & Number(CR0.TS);
  if (mask === 0) return "clear";
  if (((nonRoot.words[F.CR0_READ_SHADOW] as number) & Number(CR0.TS)) === 0) return "keep";
  return nonRoot.instruction(EXIT_REASON.CR_ACCESS, crQualification(0, CR_ACCESS_TYPE.CLTS, 0));
}

/**
 * LMSW: exits where a bit of MP, EM or TS in the mask would differ from the shadow, or PE in the mask would be set while
 * the shadow has it clear.
 *
 * @returns the value to load, with the bits of the mask kept
 */
export function interceptLmsw(nonRoot: NonRoot, value: number, old: bigint, linear: bigint | undefined): number {
  const mask = (nonRoot.words[F.CR0_GUEST_HOST_MASK] as number) & 0xf;
  const shadow = (nonRoot.words[F.CR0_READ_SHADOW] as number) & 0xf;
  const differs = (value ^ shadow) & mask;
  if ((differs & 0xe) !== 0 || (differs & value & 1) !== 0) {
    const memory = linear === undefined ? 0 : LMSW_MEMORY;
    const qualification = crQualification(0, CR_ACCESS_TYPE.LMSW, 0) | memory | ((value & 0xffff) << LMSW_SOURCE_SHIFT);
    if (linear !== undefined) {
      nonRoot.words[F.GUEST_LINEAR_ADDRESS] = lowWord(linear);
      nonRoot.words[F.GUEST_LINEAR_ADDRESS + 1] = highWord(linear);
    }
    nonRoot.instruction(EXIT_REASON.CR_ACCESS, qualification);
  }
  return (value & ~mask) | (lowWord(old) & mask);
}

const DR_FROM = 1 << 4;

/** MOV to or from a debug register. */
export function interceptDr(nonRoot: NonRoot, dr: number, gpr: number, from: boolean): void {
  if ((nonRoot.primary & CPU_BASED.MOV_DR_EXITING) === 0) return;
  nonRoot.instruction(EXIT_REASON.DR_ACCESS, dr | (from ? DR_FROM : 0) | (gpr << 8));
}

/** Last MSR of the low range, first and last of the high range, of the MSR bitmaps. */
const MSR_LOW_LAST = 0x1fff;
const MSR_HIGH = 0xc0000000;
/** Bits from the start of the page: low then high range for reads, then the same for writes. */
const MSR_HIGH_BITS = 1024 * 8;
const MSR_WRITE_BITS = 2048 * 8;

/** RDMSR and WRMSR: exit outside the ranges of the MSR bitmaps, where a bit is set, and always without bitmaps. */
export function msrExits(nonRoot: NonRoot, index: number, write: boolean): boolean {
  if ((nonRoot.primary & CPU_BASED.USE_MSR_BITMAPS) === 0) return true;
  const base = write ? MSR_WRITE_BITS : 0;
  if (index <= MSR_LOW_LAST) return nonRoot.bitmap(F.MSR_BITMAP, base + index);
  const high = index - MSR_HIGH;
  return high < 0 || high > MSR_LOW_LAST || nonRoot.bitmap(F.MSR_BITMAP, base + MSR_HIGH_BITS + high);
}

export function interceptMsr(nonRoot: NonRoot, index: number, write: boolean): void {
  if (msrExits(nonRoot, index, write)) nonRoot.instruction(write ? EXIT_REASON.MSR_WRITE : EXIT_REASON.MSR_READ);
}

const PORTS = 0x10000;
const BITMAP_B_FIRST = 0x8000;

/** Whether an access to the port exits. */
export function ioExits(nonRoot: NonRoot, port: number, size: number): boolean {
  if ((nonRoot.primary & CPU_BASED.USE_IO_BITMAPS) === 0) {
    return (nonRoot.primary & CPU_BASED.UNCOND_IO_EXITING) !== 0;
  }
  // An access that wraps around the port space exits always.
  if (port + size > PORTS) return true;
  for (let p = port; p < port + size; p++) {
    const inB = p >= BITMAP_B_FIRST;
    if (nonRoot.bitmap(inB ? F.IO_BITMAP_B : F.IO_BITMAP_A, inB ? p - BITMAP_B_FIRST : p)) return true;
  }
  return false;
}

/** What an I/O exit reports besides the port. */
export interface IoAccess {
  readonly port: number;
  readonly size: 1 | 2 | 4;
  readonly input: boolean;
  /** The port is in the instruction. */
  readonly immediate: boolean;
  /** Linear address of the memory operand of INS and OUTS. */
  readonly linear?: bigint;
}

/** VM-exit instruction information of INS and OUTS: address size at 9:7, segment of OUTS at 17:15. */
const ADDRESS_SIZE_SHIFT = 7;
const SEGMENT_SHIFT = 15;
const ADDRESS_SIZE: Readonly<Record<number, number>> = { 2: 0, 4: 1, 8: 2 };

/** Qualification of IN or OUT. */
export function ioQualification(port: number, size: number, input: boolean, immediate: boolean): number {
  const flags = (input ? IO_QUALIFICATION.IN : 0) | (immediate ? IO_QUALIFICATION.IMMEDIATE : 0);
  return (port * 2 ** IO_QUALIFICATION_PORT_SHIFT + (size - 1)) | 0 | flags;
}

export function interceptIo(nonRoot: NonRoot, io: IoAccess, instruction: DecodedInstruction): void {
  if (!ioExits(nonRoot, io.port, io.size)) return;
  let qualification = ioQualification(io.port, io.size, io.input, io.immediate);
  let information = 0;
  if (io.linear !== undefined) {
    qualification |= IO_QUALIFICATION.STRING;
    if (instruction.rep || instruction.repne) qualification |= IO_QUALIFICATION.REP;
    const segment = io.input ? 0 : (instruction.memory?.segment ?? 0);
    information = ((ADDRESS_SIZE[instruction.addressSize] ?? 0) << ADDRESS_SIZE_SHIFT) | (segment << SEGMENT_SHIFT);
    nonRoot.words[F.GUEST_LINEAR_ADDRESS] = lowWord(io.linear);
    nonRoot.words[F.GUEST_LINEAR_ADDRESS + 1] = highWord(io.linear);
  }
  nonRoot.instruction(EXIT_REASON.IO_INSTRUCTION, qualification, 0, information);
}
