import {
  CodeExt,
  CpuidFeature,
  Decoder,
  DecoderError,
  DecoderOptions,
  Instruction,
  MemorySizeExt,
  Mnemonic,
  OpCodeOperandKind,
  OpKind,
  type OpCodeInfo,
} from "./iced.js";
import type { Bitness, DecodedInstruction, MemoryOperand, Operand } from "./instruction.js";
import { generalRegister, isInstructionPointer, NO_REGISTER, segmentRegister } from "./registers.js";

/** Longest instruction in bytes; more raise #GP (SDM vol. 3, "Interrupt 13: General Protection Exception"). */
export const MAX_INSTRUCTION_BYTES = 15;

/**
 * - `instruction`: decoded.
 * - `invalid`: #UD. An illegal LOCK prefix is among the reasons.
 * - `too-long`: more than 15 bytes, #GP(0).
 * - `incomplete`: the bytes end before the instruction does; with more bytes it may become any of the others.
 */
export type DecodeResult =
  | { readonly kind: "instruction"; readonly instruction: DecodedInstruction }
  | { readonly kind: "invalid" }
  | { readonly kind: "too-long" }
  | { readonly kind: "incomplete" };

const INVALID: DecodeResult = { kind: "invalid" };
const TOO_LONG: DecodeResult = { kind: "too-long" };
const INCOMPLETE: DecodeResult = { kind: "incomplete" };

/** A feature that an instruction needs, by iced-x86's name of it (`BMI1`, `POPCNT`, ...). */
export type DecoderFeature = keyof typeof CpuidFeature;

/** What holds for every instruction of one iced-x86 `Code`. */
export interface CodeInfo {
  readonly operandSize: 0 | 2 | 4 | 8;
  /** 0 where the opcode does not fix it. */
  readonly addressSize: 0 | 2 | 4 | 8;
  /** All are needed. */
  readonly features: readonly DecoderFeature[];
  /** In the manual's notation, for messages: `ADD r/m32, r32`. */
  readonly syntax: string;
  /** The register file of an extension that it works on, and so what has to be switched on for it. */
  readonly extension: RegisterExtension | undefined;
}

/** Register files beside the general registers; `mmx-sse` for instructions that move between the two. */
export type RegisterExtension = "x87" | "mmx" | "sse" | "mmx-sse";

const MMX_KINDS: ReadonlySet<OpCodeOperandKind> = new Set([
  OpCodeOperandKind.mm_reg,
  OpCodeOperandKind.mm_rm,
  OpCodeOperandKind.mm_or_mem,
]);
const XMM_KINDS: ReadonlySet<OpCodeOperandKind> = new Set([
  OpCodeOperandKind.xmm_reg,
  OpCodeOperandKind.xmm_rm,
  OpCodeOperandKind.xmm_or_mem,
]);

function registerExtension(opCode: OpCodeInfo, features: readonly DecoderFeature[]): RegisterExtension | undefined {
  const kinds = Array.from({ length: opCode.opCount }, (_, n) => opCode.opKind(n));
  const mmx = kinds.some((kind) => MMX_KINDS.has(kind)) || opCode.mnemonic === Mnemonic.Emms;
  const status = opCode.mnemonic === Mnemonic.Ldmxcsr || opCode.mnemonic === Mnemonic.Stmxcsr;
  const sse = status || kinds.some((kind) => XMM_KINDS.has(kind));
  if (mmx) return sse ? "mmx-sse" : "mmx";
  if (sse) return "sse";
  return features.some((feature) => feature.startsWith("FPU")) ? "x87" : undefined;
}

const bytes = (bits: number): 0 | 2 | 4 | 8 => (bits === 16 ? 2 : bits === 32 ? 4 : bits === 64 ? 8 : 0);

const codeInfos: (CodeInfo | undefined)[] = [];

/** Facts about a `Code`, gathered when it is first seen. */
export function codeInfo(code: number): CodeInfo {
  let info = codeInfos[code];
  if (info === undefined) {
    const opCode = CodeExt.opCode(code);
    const sample = new Instruction();
    sample.code = code;
    const features = Array.from(sample.cpuidFeatures(), (feature) => CpuidFeature[feature] as DecoderFeature);
    info = {
      operandSize: bytes(opCode.operandSize),
      addressSize: bytes(opCode.addressSize),
      features,
      syntax: opCode.instructionString,
      extension: registerExtension(opCode, features),
    };
    sample.free();
    opCode.free();
    codeInfos[code] = info;
  }
  return info;
}

const memoryBytes: (number | undefined)[] = [];

function memorySizeOf(instruction: Instruction): number {
  const kind = instruction.memorySize;
  return (memoryBytes[kind] ??= MemorySizeExt.size(kind));
}

/** Registers of the string operand kinds, by `OpKind`: address size in bytes and whether it is the one through rDI. */
const STRING_OPERANDS: ReadonlyMap<OpKind, { addressSize: 2 | 4 | 8; base: number; es: boolean }> = new Map([
  [OpKind.MemorySegSI, { addressSize: 2, base: 27, es: false }],
  [OpKind.MemorySegESI, { addressSize: 4, base: 43, es: false }],
  [OpKind.MemorySegRSI, { addressSize: 8, base: 59, es: false }],
  [OpKind.MemorySegDI, { addressSize: 2, base: 28, es: false }],
  [OpKind.MemorySegEDI, { addressSize: 4, base: 44, es: false }],
  [OpKind.MemorySegRDI, { addressSize: 8, base: 60, es: false }],
  [OpKind.MemoryESDI, { addressSize: 2, base: 28, es: true }],
  [OpKind.MemoryESEDI, { addressSize: 4, base: 44, es: true }],
  [OpKind.MemoryESRDI, { addressSize: 8, base: 60, es: true }],
]);

function addressBytes(base: number, index: number, displacementBytes: number, bitness: Bitness): 2 | 4 | 8 {
  const register = generalRegister(base !== NO_REGISTER ? base : index);
  if (register !== undefined && register.size !== 1) return register.size;
  if (isInstructionPointer(base)) return base === 70 ? 8 : 4;
  if (displacementBytes === 2 || displacementBytes === 4 || displacementBytes === 8) return displacementBytes;
  return (bitness >> 3) as 2 | 4 | 8;
}

/** 64-bit mode ignores overrides by CS, DS, ES and SS (SDM vol. 1, "Segmentation in 64-Bit Mode"). */
function effectiveSegment(i: Instruction, base: number, bitness: Bitness): number {
  const segment = segmentRegister(i.memorySegment);
  if (bitness !== 64 || segment > 3) return segment;
  const register = generalRegister(base);
  return register !== undefined && (register.index === 4 || register.index === 5) ? 2 : 3;
}

function memoryOperand(i: Instruction, bitness: Bitness): MemoryOperand {
  const base = i.memoryBase;
  const index = i.memoryIndex;
  return {
    kind: "memory",
    base,
    index,
    scale: i.memoryIndexScale as 1 | 2 | 4 | 8,
    displacement: BigInt.asUintN(64, i.memoryDisplacement),
    segment: effectiveSegment(i, base, bitness),
    size: memorySizeOf(i),
    addressSize: addressBytes(base, index, i.memoryDisplSize, bitness),
  };
}

function operand(i: Instruction, n: number, bitness: Bitness): Operand {
  const kind = i.opKind(n);
  switch (kind) {
    case OpKind.Register:
      return { kind: "register", register: i.opRegister(n) };
    case OpKind.NearBranch16:
    case OpKind.NearBranch32:
    case OpKind.NearBranch64:
      return { kind: "branch", target: BigInt.asUintN(64, i.nearBranchTarget) };
    case OpKind.FarBranch16:
      return { kind: "far", selector: i.farBranchSelector, offset: i.farBranch16 };
    case OpKind.FarBranch32:
      return { kind: "far", selector: i.farBranchSelector, offset: i.farBranch32 >>> 0 };
    case OpKind.Memory:
      return memoryOperand(i, bitness);
    default: {
      const string = STRING_OPERANDS.get(kind);
      if (string === undefined) return { kind: "immediate", value: BigInt.asUintN(64, i.immediate(n)) };
      return {
        kind: "memory",
        base: string.base,
        index: NO_REGISTER,
        scale: 1,
        displacement: 0n,
        segment: string.es ? 0 : effectiveSegment(i, string.base, bitness),
        size: memorySizeOf(i),
        addressSize: string.addressSize,
      };
    }
  }
}

const isEscape = (byte: number): boolean => byte >= 0xd8 && byte <= 0xdf;

/** The low three bits of the escape byte and the byte after it: what the x87 remembers of its last instruction. */
function lastOpcode(bytes: Uint8Array): number {
  const at = bytes.findIndex(isEscape);
  return (((bytes[at] ?? 0) & 7) << 8) | (bytes[at + 1] ?? 0);
}

/** @param bytes those of the instruction */
function convert(i: Instruction, bitness: Bitness, bytes: Uint8Array): DecodedInstruction {
  const code = i.code;
  const info = codeInfo(code);
  const operands: Operand[] = [];
  let memory: MemoryOperand | undefined;
  for (let n = 0, count = i.opCount; n < count; n++) {
    const op = operand(i, n, bitness);
    operands.push(op);
    if (op.kind === "memory") memory ??= op;
  }
  return {
    code,
    mnemonic: i.mnemonic,
    length: i.length,
    ip: i.ip,
    bitness,
    operandSize: info.operandSize,
    addressSize: memory?.addressSize ?? (info.addressSize || ((bitness >> 3) as 2 | 4 | 8)),
    operands,
    memory,
    rep: i.hasRepPrefix,
    repne: i.hasRepnePrefix,
    lock: i.hasLockPrefix,
    x87Opcode: info.extension === "x87" ? lastOpcode(bytes) : undefined,
  };
}

/**
 * Decodes one instruction after another from bytes that lie in sequence. It holds WebAssembly memory of the decoder:
 * call {@link free} when done.
 */
export class InstructionStream {
  readonly #decoder: Decoder;
  readonly #instruction = new Instruction();
  readonly #bitness: Bitness;
  readonly #code: Uint8Array;

  /**
   * @param code bytes from the first instruction on, as many as can be fetched without a fault
   * @param ip offset of the first byte in the code segment
   */
  constructor(code: Uint8Array, ip: bigint, bitness: Bitness) {
    this.#decoder = new Decoder(bitness, code, DecoderOptions.None);
    this.#decoder.ip = ip;
    this.#bitness = bitness;
    this.#code = code;
  }

  /** Bytes consumed so far. */
  get position(): number {
    return this.#decoder.position;
  }

  /** Decode the next instruction. After anything but `instruction` the stream is at its end. */
  next(): DecodeResult {
    const start = this.#decoder.position;
    if (start >= this.#code.length) return INCOMPLETE;
    const instruction = this.#instruction;
    this.#decoder.decodeOut(instruction);
    if (instruction.code === 0) {
      if (this.#decoder.lastError === DecoderError.NoMoreBytes) return INCOMPLETE;
      // An instruction that is cut off at 15 bytes is reported as invalid, with all of them consumed.
      return instruction.length >= MAX_INSTRUCTION_BYTES ? TOO_LONG : INVALID;
    }
    return {
      kind: "instruction",
      instruction: convert(instruction, this.#bitness, this.#code.subarray(start, this.position)),
    };
  }

  free(): void {
    this.#instruction.free();
    this.#decoder.free();
  }
}

/**
 * Decode one instruction.
 *
 * @param code bytes from the instruction on; fewer than 15 are enough if the instruction is shorter
 * @param ip offset of the first byte in the code segment
 */
export function decode(code: Uint8Array, ip: bigint, bitness: Bitness): DecodeResult {
  const stream = new InstructionStream(
    code.length > MAX_INSTRUCTION_BYTES ? code.subarray(0, MAX_INSTRUCTION_BYTES) : code,
    ip,
    bitness,
  );
  try {
    return stream.next();
  } finally {
    stream.free();
  }
}
