import type { DecodedInstruction, MemoryOperand, Operand } from "../decode/instruction.js";
import { generalRegister, isInstructionPointer, segmentRegister } from "../decode/registers.js";
import type { AccessSize, ExecutionEnvironment } from "../environment.js";
import { loadSegmented, storeSegmented } from "./memory.js";
import { maskOf } from "./mode.js";

/** Value of a general register or part of one, zero-extended. */
export function readRegister(m: ExecutionEnvironment, register: number): bigint {
  const r = generalRegister(register);
  if (r === undefined) throw new RangeError(`register ${register} is no general register`);
  const value = m.state.gpr(r.index);
  return r.high ? (value >> 8n) & 0xffn : value & maskOf(r.size);
}

/** Write a general register or part of one: 32-bit writes clear the upper half, narrower ones keep the rest. */
export function writeRegister(m: ExecutionEnvironment, register: number, value: bigint): void {
  const r = generalRegister(register);
  if (r === undefined) throw new RangeError(`register ${register} is no general register`);
  if (r.size >= 4) {
    m.state.setGpr(r.index, value & maskOf(r.size));
    return;
  }
  const shift = r.high ? 8n : 0n;
  const mask = maskOf(r.size) << shift;
  m.state.setGpr(r.index, (m.state.gpr(r.index) & ~mask) | ((value << shift) & mask));
}

/** Encoding of the general register that is operand `n`. */
export function registerIndex(i: DecodedInstruction, n: number): number {
  const operand = i.operands[n];
  const r = operand?.kind === "register" ? generalRegister(operand.register) : undefined;
  if (r === undefined) throw new RangeError(`operand ${n} is no general register`);
  return r.index;
}

/** Encoding of the segment register that is operand `n`. */
export function segmentIndex(i: DecodedInstruction, n: number): number {
  const operand = i.operands[n];
  const index = operand?.kind === "register" ? segmentRegister(operand.register) : -1;
  if (index < 0) throw new RangeError(`operand ${n} is no segment register`);
  return index;
}

export function operandOf(i: DecodedInstruction, n: number): Operand {
  const operand = i.operands[n];
  if (operand === undefined) throw new RangeError(`instruction has no operand ${n}`);
  return operand;
}

export function memoryOf(i: DecodedInstruction): MemoryOperand {
  if (i.memory === undefined) throw new RangeError("instruction has no memory operand");
  return i.memory;
}

/** Offset that a memory operand names within its segment, cut to the address size. */
export function effectiveAddress(m: ExecutionEnvironment, operand: MemoryOperand): bigint {
  let offset = operand.displacement;
  // The displacement of a RIP-relative operand is the whole address already.
  if (operand.base !== 0 && !isInstructionPointer(operand.base)) offset += readRegister(m, operand.base);
  if (operand.index !== 0) offset += readRegister(m, operand.index) * BigInt(operand.scale);
  return offset & maskOf(operand.addressSize);
}

/** `offset` plus `delta` within the address size of the operand. */
export const advance = (operand: MemoryOperand, offset: bigint, delta: number): bigint =>
  (offset + BigInt(delta)) & maskOf(operand.addressSize);

/** Read `size` bytes of a register, memory or immediate operand. */
export function readOperand(m: ExecutionEnvironment, operand: Operand, size: AccessSize): bigint {
  switch (operand.kind) {
    case "register":
      return readRegister(m, operand.register) & maskOf(size);
    case "memory":
      return loadSegmented(m, operand.segment, effectiveAddress(m, operand), size);
    case "immediate":
      return operand.value & maskOf(size);
    case "branch":
      return operand.target;
    case "far":
      throw new RangeError("a far pointer is no value");
  }
}

/** Write a register by its own width, or `size` bytes of memory. */
export function writeOperand(m: ExecutionEnvironment, operand: Operand, size: AccessSize, value: bigint): void {
  if (operand.kind === "register") writeRegister(m, operand.register, value);
  else if (operand.kind === "memory") {
    storeSegmented(m, operand.segment, effectiveAddress(m, operand), size, value & maskOf(size));
  } else throw new RangeError(`an operand of kind ${operand.kind} cannot be written`);
}
