import { generalRegister, isInstructionPointer, type DecodedInstruction, type MemoryOperand } from "@tapvisor/x86-isa";

const SCALE: Readonly<Record<number, number>> = { 1: 0, 2: 1, 4: 2, 8: 3 };
const ADDRESS_SIZE: Readonly<Record<number, number>> = { 2: 0, 4: 1, 8: 2 };

const REGISTER_FORM = 1 << 10;
const NO_INDEX = 1 << 22;
const NO_BASE = 1 << 27;

const registerOf = (i: DecodedInstruction, n: number): number => {
  const operand = i.operands[n];
  return operand?.kind === "register" ? (generalRegister(operand.register)?.index ?? 0) : 0;
};

/** The parts that all forms with a memory operand share: scale, address size, segment, index, base. */
function memoryBits(memory: MemoryOperand): number {
  const index = generalRegister(memory.index);
  const base = isInstructionPointer(memory.base) ? undefined : generalRegister(memory.base);
  return (
    (SCALE[memory.scale] ?? 0) |
    ((ADDRESS_SIZE[memory.addressSize] ?? 0) << 7) |
    (memory.segment << 15) |
    (index === undefined ? NO_INDEX : index.index << 18) |
    (base === undefined ? NO_BASE : base.index << 23)
  );
}

/** A qualification that is the displacement of the memory operand, as a signed 64-bit number in two words. */
export function displacementWords(i: DecodedInstruction): [number, number] {
  const displacement = i.memory?.displacement ?? 0n;
  return [Number(BigInt.asUintN(32, displacement)), Number(BigInt.asUintN(32, displacement >> 32n))];
}

/** LGDT, LIDT, SGDT, SIDT (SDM vol. 3, "Format of the VM-Exit Instruction-Information Field as Used for LIDT, LGDT, SIDT, or SGDT"). */
export function tableInformation(i: DecodedInstruction, identity: number): number {
  const operandSize = i.operandSize === 2 ? 0 : 1 << 11;
  return (i.memory === undefined ? 0 : memoryBits(i.memory)) | operandSize | (identity << 28);
}

/** LLDT, LTR, SLDT, STR. */
export function selectorInformation(i: DecodedInstruction, identity: number): number {
  const operand = i.memory === undefined ? REGISTER_FORM | (registerOf(i, 0) << 3) : memoryBits(i.memory);
  return operand | (identity << 28);
}

/** INVEPT, INVPCID, INVVPID: a memory operand and a register at 31:28. */
export function invalidationInformation(i: DecodedInstruction): number {
  return ((i.memory === undefined ? 0 : memoryBits(i.memory)) | (registerOf(i, 0) << 28)) >>> 0;
}

/** VMCLEAR, VMPTRLD, VMPTRST, VMXON, XRSTORS, XSAVES. */
export function pointerInformation(i: DecodedInstruction): number {
  return i.memory === undefined ? 0 : memoryBits(i.memory);
}

/** VMREAD and VMWRITE: `value` is the operand number of the value, `field` that of the encoding. */
export function vmcsAccessInformation(i: DecodedInstruction, value: number, field: number): number {
  const operand = i.memory === undefined ? REGISTER_FORM | (registerOf(i, value) << 3) : memoryBits(i.memory);
  return (operand | (registerOf(i, field) << 28)) >>> 0;
}

/** RDRAND and RDSEED: destination register and operand size. */
export function randomInformation(register: number, size: 2 | 4 | 8): number {
  return (register << 3) | ((size === 2 ? 0 : size === 4 ? 1 : 2) << 11);
}
