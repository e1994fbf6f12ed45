/**
 * The architectural state of one logical processor as bytes at fixed offsets.
 *
 * Interpreter, compiled blocks, evaluator and TypeScript all see these bytes and no others, so nothing is ever
 * "written back". An offset fits 16 bits: a micro-operation names its operands by it.
 */

/** How a field is stored: width in bits, or `v128` for a vector register, or `f80` for an x87 register in 16 bytes. */
export type FieldKind = "u8" | "u16" | "u32" | "u64" | "f80" | "v128";

const KIND_BYTES: Record<FieldKind, number> = { u8: 1, u16: 2, u32: 4, u64: 8, f80: 16, v128: 16 };

type FieldSpec = readonly [name: string, kind: FieldKind];

const TO_3 = [0, 1, 2, 3] as const;
const TO_7 = [...TO_3, 4, 5, 6, 7] as const;
const TO_15 = [...TO_7, 8, 9, 10, 11, 12, 13, 14, 15] as const;
const TO_31 = [...TO_15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31] as const;

/** Numbered fields: `t0`, `t1`, ... */
const numbered = <const P extends string, N extends number, K extends FieldKind>(
  prefix: P,
  numbers: readonly N[],
  kind: K,
): (readonly [`${P}${N}`, K])[] => numbers.map((n) => [`${prefix}${n}`, kind]);

/** Names of the general registers in their encoding order. */
export const GPR_NAMES = [
  "rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
  "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15",
] as const; // prettier-ignore

/** Segment registers in their encoding order, then the two system segments. */
export const SEGMENT_NAMES = ["es", "cs", "ss", "ds", "fs", "gs", "ldtr", "tr"] as const;
export type SegmentName = (typeof SEGMENT_NAMES)[number];

/** Numbers of the scratch slots, which live no longer than one instruction: of 64 bits, and of 128. */
export const TEMP_NUMBERS = TO_31;
export const VECTOR_TEMP_NUMBERS = TO_7;
/** Numbers of the x87's registers R0 to R7, and of the XMM registers. */
export const X87_NUMBERS = TO_7;
export const XMM_NUMBERS = TO_15;

const FIELDS = [
  ...GPR_NAMES.map((name) => [name, "u64"] as const),
  ["rip", "u64"],
  // Lazy arithmetic flags; see flags.ts for their meaning.
  ["flagResult", "u64"],
  ["flagAux", "u64"],
  // RFLAGS without CF, PF, AF, ZF, SF, OF; bit 1 is always set.
  ["flagsRest", "u64"],
  ...numbered("t", TEMP_NUMBERS, "u64"),
  ...SEGMENT_NAMES.flatMap((name) => [
    [`${name}.base`, "u64"] as const,
    [`${name}.limit`, "u32"] as const,
    // In the format of the VMCS access-rights fields (SDM vol. 3, "Guest Register State"): bit 16 is "unusable".
    [`${name}.rights`, "u32"] as const,
    [`${name}.selector`, "u32"] as const,
    [`${name}.reserved`, "u32"] as const,
  ]),
  ["gdtr.base", "u64"],
  ["idtr.base", "u64"],
  ["gdtr.limit", "u32"],
  ["idtr.limit", "u32"],
  ["cr0", "u64"],
  ["cr2", "u64"],
  ["cr3", "u64"],
  ["cr4", "u64"],
  ["cr8", "u64"],
  ["efer", "u64"],
  ["xcr0", "u64"],
  ["dr0", "u64"],
  ["dr1", "u64"],
  ["dr2", "u64"],
  ["dr3", "u64"],
  ["dr6", "u64"],
  ["dr7", "u64"],
  ...numbered("pdpte", TO_3, "u64"),
  ["sysenter_cs", "u64"],
  ["sysenter_esp", "u64"],
  ["sysenter_eip", "u64"],
  ["star", "u64"],
  ["lstar", "u64"],
  ["cstar", "u64"],
  ["sfmask", "u64"],
  ["kernel_gs_base", "u64"],
  ["tsc_aux", "u64"],
  ["pat", "u64"],
  ["debugctl", "u64"],
  ["pkru", "u32"],
  // 0 active, 1 HLT, 2 shutdown, 3 wait-for-SIPI (SDM vol. 3, "Guest Non-Register State").
  ["activity", "u32"],
  // Bit 0 blocking by STI, bit 1 by MOV SS, bit 3 by NMI: the format of the VMCS interruptibility field.
  ["interruptibility", "u32"],
  ["mxcsr", "u32"],
  ["pendingDebug", "u64"],
  // Instructions that may still retire before the engine has to stop.
  ["fuel", "u64"],
  // Of the instruction that a slow path is working on.
  ["currentRip", "u64"],
  ["nextRip", "u64"],
  // The exception that a slow path raised and nobody delivered yet: vector, error code (-1: none), valid.
  ["fault.vector", "u32"],
  ["fault.errorCode", "u32"],
  ["fault.valid", "u32"],
  ["fault.reserved", "u32"],
  // The six fields of the x87 that begin an FXSAVE image, as they are there (SDM vol. 1, "FXSAVE Area"): of the tag word
  // one bit a register, set where it is not empty. `st0` to `st7` are the registers R0 to R7, not ST(0) to ST(7).
  ["fcw", "u16"],
  ["fsw", "u16"],
  ["ftw", "u16"],
  ["fop", "u16"],
  ["fip", "u64"],
  ["fdp", "u64"],
  ...numbered("st", X87_NUMBERS, "f80"),
  ...numbered("xmm", XMM_NUMBERS, "v128"),
  ...numbered("v", VECTOR_TEMP_NUMBERS, "v128"),
] as const satisfies readonly FieldSpec[];

/** Name of a field of the state. */
export type SlotName = (typeof FIELDS)[number][0];

export interface StateField {
  readonly name: string;
  readonly kind: FieldKind;
  /** Bytes from the start of the state. */
  readonly offset: number;
  readonly bytes: number;
}

const placed = new Map<string, StateField>();
let end = 0;
for (const [name, kind] of FIELDS) {
  const bytes = KIND_BYTES[kind];
  const offset = Math.ceil(end / bytes) * bytes;
  placed.set(name, { name, kind, offset, bytes });
  end = offset + bytes;
}

/** Every field by name, in order of offset. */
export const STATE_LAYOUT: ReadonlyMap<string, StateField> = placed;

/** Size of the architectural state in bytes. What an engine keeps for itself begins after it. */
export const STATE_BYTES = Math.ceil(end / 64) * 64;

/** Offset of a field by its name. */
export function slot(name: SlotName): number {
  const field = placed.get(name);
  if (field === undefined) throw new RangeError(`state field "${name}" does not exist`);
  return field.offset;
}
