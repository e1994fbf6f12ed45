/** Code size of the segment that an instruction is fetched from, in bits (CS.D and CS.L). */
export type Bitness = 16 | 32 | 64;

/**
 * Bits of the instruction pointer that execution in sequence keeps. 16-bit code has all 32 of EIP: only a branch with an
 * operand size of 16 bits clears the upper half (SDM vol. 2, "Jcc", "JMP"), and running past 0xffff is left to the limit of CS.
 */
export const instructionPointerBits = (bitness: Bitness): 32 | 64 => (bitness === 64 ? 64 : 32);

/** Bytes of an operand or address. */
export type OperandBytes = 1 | 2 | 4 | 8;

/** A register operand; `register` is an iced-x86 `Register` (see registers.ts for what it names). */
export interface RegisterOperand {
  readonly kind: "register";
  readonly register: number;
}

/** A constant, sign-extended to 64 bits where the instruction extends it, and then taken as unsigned 64 bits. */
export interface ImmediateOperand {
  readonly kind: "immediate";
  readonly value: bigint;
}

/** A memory operand with an address expression, or one of a string instruction (through rSI or rDI). */
export interface MemoryOperand {
  readonly kind: "memory";
  /** iced-x86 `Register`, 0 for none. EIP or RIP: `displacement` is the whole effective address already. */
  readonly base: number;
  /** iced-x86 `Register`, 0 for none; a vector register for VSIB. */
  readonly index: number;
  readonly scale: 1 | 2 | 4 | 8;
  /** Unsigned 64 bits, sign-extended from what is encoded. */
  readonly displacement: bigint;
  /** Segment after defaults and overrides: 0 ES, 1 CS, 2 SS, 3 DS, 4 FS, 5 GS. */
  readonly segment: number;
  /** Bytes read or written by one access (of one repetition); 0 where there is no access, as in LEA, or where it varies. */
  readonly size: number;
  readonly addressSize: 2 | 4 | 8;
}

/** Target of a near branch: offset in the code segment, cut to the operand size. */
export interface BranchOperand {
  readonly kind: "branch";
  readonly target: bigint;
}

/** Immediate far pointer of CALL and JMP. */
export interface FarOperand {
  readonly kind: "far";
  readonly selector: number;
  readonly offset: number;
}

export type Operand = RegisterOperand | ImmediateOperand | MemoryOperand | BranchOperand | FarOperand;

/**
 * One decoded instruction, free of the decoder's own objects (which live in WebAssembly memory and must be freed).
 * Numbers of `code`, `mnemonic` and registers are iced-x86's.
 */
export interface DecodedInstruction {
  readonly code: number;
  readonly mnemonic: number;
  /** Bytes, 1 to 15. */
  readonly length: number;
  /** Offset of the instruction in its code segment (RIP, EIP or IP). */
  readonly ip: bigint;
  readonly bitness: Bitness;
  /** Operand-size attribute in bytes; 0 where the instruction does not depend on it (byte forms, MOVSB, ...). */
  readonly operandSize: 0 | 2 | 4 | 8;
  /** Address-size attribute in bytes, as far as the instruction depends on it; otherwise that of the code segment. */
  readonly addressSize: 2 | 4 | 8;
  /** Operands in Intel order, implied ones that have no encoding (AL, CL, 1) included. */
  readonly operands: readonly Operand[];
  /** The memory operand among them; of MOVS and CMPS the first in `operands`. */
  readonly memory: MemoryOperand | undefined;
  /** Prefix F3 (REP, REPE), where it is not part of the opcode. */
  readonly rep: boolean;
  /** Prefix F2 (REPNE), where it is not part of the opcode. */
  readonly repne: boolean;
  readonly lock: boolean;
  /** Bits 10:0 of the last opcode, of an x87 instruction (SDM vol. 1, "Last Instruction Opcode"). */
  readonly x87Opcode: number | undefined;
}
