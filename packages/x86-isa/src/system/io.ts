import type { DecodedInstruction, MemoryOperand } from "../decode/instruction.js";
import type { ExecutionEnvironment } from "../environment.js";
import { RFLAGS } from "../tables/registers.js";
import { linearAddress, readAccess, writeAccess } from "./memory.js";
import { GPR, SLOT, cpl, generalProtection, iopl, isProtected, isVirtual8086, maskOf } from "./mode.js";
import { effectiveAddress, memoryOf, operandOf, readOperand, writeRegister } from "./operands.js";
import { ioPermitted } from "./tss.js";

type PortSize = 1 | 2 | 4;

/** CPL above IOPL, and virtual-8086 mode always, ask the I/O permission bitmap (SDM vol. 1, "I/O Privilege Level"). */
export function checkIoPermission(m: ExecutionEnvironment, port: number, size: PortSize): void {
  const s = m.state;
  if (!isProtected(s)) return;
  if ((isVirtual8086(s) || cpl(s) > iopl(s)) && !ioPermitted(m, port, size)) generalProtection();
}

function accumulatorSize(i: DecodedInstruction, n: number): PortSize {
  const operand = operandOf(i, n);
  const al = 1;
  const ax = 21;
  if (operand.kind !== "register") throw new RangeError("IN and OUT use the accumulator");
  return operand.register === al ? 1 : operand.register === ax ? 2 : 4;
}

export function input(m: ExecutionEnvironment, i: DecodedInstruction): void {
  const size = accumulatorSize(i, 0);
  const operand = operandOf(i, 1);
  const port = Number(readOperand(m, operand, operand.kind === "immediate" ? 1 : 2));
  checkIoPermission(m, port, size);
  const destination = operandOf(i, 0);
  const value = BigInt(m.in(port, size, i) >>> 0);
  if (destination.kind === "register") writeRegister(m, destination.register, value & maskOf(size));
}

export function output(m: ExecutionEnvironment, i: DecodedInstruction): void {
  const size = accumulatorSize(i, 1);
  const operand = operandOf(i, 0);
  const port = Number(readOperand(m, operand, operand.kind === "immediate" ? 1 : 2));
  checkIoPermission(m, port, size);
  m.out(port, size, Number(readOperand(m, operandOf(i, 1), size)), i);
}

const REPEATED = (i: DecodedInstruction): boolean => i.rep || i.repne;

/** Count register of a repetition, cut to the address size. */
const countOf = (m: ExecutionEnvironment, i: DecodedInstruction): bigint =>
  m.state.gpr(GPR.RCX) & maskOf(i.addressSize);

/** Write a register by the address size: 32-bit writes clear the upper half, 16-bit ones keep the rest. */
function setByAddressSize(m: ExecutionEnvironment, index: number, size: 2 | 4 | 8, value: bigint): void {
  const mask = maskOf(size);
  const keep = size === 2 ? m.state.gpr(index) & ~mask : 0n;
  m.state.setGpr(index, keep | (value & mask));
}

/** One iteration is over: move the index register, count, and stay on the instruction while there is more to do. */
function iterate(
  m: ExecutionEnvironment,
  i: DecodedInstruction,
  memory: MemoryOperand,
  index: number,
  size: PortSize,
): void {
  const s = m.state;
  const backwards = (s.get64(SLOT.flagsRest) & RFLAGS.DF) !== 0n;
  const step = BigInt(backwards ? -size : size);
  setByAddressSize(m, index, memory.addressSize, s.gpr(index) + step);
  if (!REPEATED(i)) return;
  const count = countOf(m, i) - 1n;
  setByAddressSize(m, GPR.RCX, memory.addressSize, count);
  if (count !== 0n) s.set64(SLOT.nextRip, s.get64(SLOT.currentRip));
}

const portOf = (m: ExecutionEnvironment): number => Number(m.state.gpr(GPR.RDX) & 0xffffn);

/** INSB, INSW, INSD: one iteration. */
export function insertString(size: PortSize) {
  return (m: ExecutionEnvironment, i: DecodedInstruction): void => {
    if (REPEATED(i) && countOf(m, i) === 0n) return;
    const memory = memoryOf(i);
    const port = portOf(m);
    checkIoPermission(m, port, size);
    const linear = linearAddress(m, memory.segment, effectiveAddress(m, memory), size, true);
    m.stringIo(port, size, true, linear, i);
    // The destination is known to be writable before the port is read: a port read cannot be taken back.
    m.probe(linear, size, writeAccess(memory.segment));
    const value = BigInt(m.in(port, size, i) >>> 0) & maskOf(size);
    m.store(linear, size, value, writeAccess(memory.segment));
    iterate(m, i, memory, GPR.RDI, size);
  };
}

/** OUTSB, OUTSW, OUTSD: one iteration. */
export function outputString(size: PortSize) {
  return (m: ExecutionEnvironment, i: DecodedInstruction): void => {
    if (REPEATED(i) && countOf(m, i) === 0n) return;
    const memory = memoryOf(i);
    const port = portOf(m);
    checkIoPermission(m, port, size);
    const linear = linearAddress(m, memory.segment, effectiveAddress(m, memory), size, false);
    m.stringIo(port, size, false, linear, i);
    m.out(port, size, Number(m.load(linear, size, readAccess(memory.segment))), i);
    iterate(m, i, memory, GPR.RSI, size);
  };
}
