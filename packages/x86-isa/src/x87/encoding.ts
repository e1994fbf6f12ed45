/**
 * The constant of an x87 micro-operation. Below bit 34 it is that of a memory row: displacement and access flags. Above
 * it is what an exception handler wants to know of the instruction (SDM vol. 1, "x87 FPU Instruction and Data (Operand)
 * Pointers", "Last Instruction Opcode").
 */
export const X87_IMM = {
  /** Bytes from the start of the block, 14 bits. */
  OFFSET: 34n,
  /** Bits 10:0 of the last opcode. */
  OPCODE: 48n,
  /** Segment register of the memory operand plus one; 0 where there is none. */
  SEGMENT: 59n,
} as const;

const OFFSET_BITS = 14;
const OPCODE_BITS = 11;
const SEGMENT_BITS = 3;

export interface X87Origin {
  readonly offset: number;
  readonly opcode: number;
  /** Segment register of the memory operand: 0 ES, ..., 5 GS. */
  readonly segment: number | undefined;
}

export function packOrigin({ offset, opcode, segment }: X87Origin): bigint {
  return (
    (BigInt(offset) << X87_IMM.OFFSET) |
    (BigInt(opcode) << X87_IMM.OPCODE) |
    (BigInt(segment === undefined ? 0 : segment + 1) << X87_IMM.SEGMENT)
  );
}

export function unpackOrigin(imm: bigint): X87Origin {
  const part = (shift: bigint, bits: number): number => Number(BigInt.asUintN(bits, imm >> shift));
  const segment = part(X87_IMM.SEGMENT, SEGMENT_BITS);
  return {
    offset: part(X87_IMM.OFFSET, OFFSET_BITS),
    opcode: part(X87_IMM.OPCODE, OPCODE_BITS),
    segment: segment === 0 ? undefined : segment - 1,
  };
}
