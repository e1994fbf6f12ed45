import { Register } from "../decode/iced.js";
import type { DecodedInstruction } from "../decode/instruction.js";
import type { ExecutionEnvironment } from "../environment.js";
import { CR3, CR4 } from "../tables/registers.js";
import { linearAddress } from "./memory.js";
import { GPR, cr4, generalProtection, is64Bit, isCanonical, requireCpl0, undefinedOpcode } from "./mode.js";
import {
  advance,
  effectiveAddress,
  memoryOf,
  operandOf,
  readOperand,
  readRegister,
  registerIndex,
  writeOperand,
} from "./operands.js";
import { SEGMENT_NAMES } from "../state/layout.js";
import { loadSegmented } from "./memory.js";
import { checkUmip } from "./tables.js";

const special = (i: DecodedInstruction, n: number, first: Register): number => {
  const operand = operandOf(i, n);
  return operand.kind === "register" ? operand.register - first : -1;
};

const CONTROL_REGISTERS: readonly number[] = [0, 2, 3, 4, 8];

function controlRegister(m: ExecutionEnvironment, i: DecodedInstruction, n: number): number {
  const cr = special(i, n, Register.CR0);
  if (!CONTROL_REGISTERS.includes(cr)) undefinedOpcode();
  requireCpl0(m.state);
  return cr;
}

/** MOV r, CRn. */
export function movFromControl(m: ExecutionEnvironment, i: DecodedInstruction): void {
  const cr = controlRegister(m, i, 1);
  const value = m.readControl(cr, registerIndex(i, 0));
  writeOperand(m, operandOf(i, 0), 8, value);
}

/** MOV CRn, r. */
export function movToControl(m: ExecutionEnvironment, i: DecodedInstruction): void {
  const cr = controlRegister(m, i, 0);
  m.writeControl(cr, readOperand(m, operandOf(i, 1), is64Bit(m.state) ? 8 : 4), registerIndex(i, 1));
}

/** MOV r, DRn. The machine makes the checks: an interception comes before them. */
export function movFromDebug(m: ExecutionEnvironment, i: DecodedInstruction): void {
  writeOperand(m, operandOf(i, 0), 8, m.readDebug(special(i, 1, Register.DR0), registerIndex(i, 0)));
}

/** MOV DRn, r. */
export function movToDebug(m: ExecutionEnvironment, i: DecodedInstruction): void {
  const value = readOperand(m, operandOf(i, 1), is64Bit(m.state) ? 8 : 4);
  m.writeDebug(special(i, 0, Register.DR0), value, registerIndex(i, 1));
}

export function clts(m: ExecutionEnvironment): void {
  requireCpl0(m.state);
  m.clearTaskSwitched();
}

export function lmsw(m: ExecutionEnvironment, i: DecodedInstruction): void {
  requireCpl0(m.state);
  const operand = operandOf(i, 0);
  const value = Number(readOperand(m, operand, 2));
  if (operand.kind !== "memory") m.loadMachineStatusWord(value);
  else {
    m.loadMachineStatusWord(value, linearAddress(m, operand.segment, effectiveAddress(m, operand), 2, false));
  }
}

/** A register destination takes as much of CR0 as it has room for, memory 16 bits. */
export function smsw(m: ExecutionEnvironment, i: DecodedInstruction): void {
  checkUmip(m);
  writeOperand(m, operandOf(i, 0), 2, m.readControl(0, GPR.RAX));
}

export function invlpg(m: ExecutionEnvironment, i: DecodedInstruction): void {
  requireCpl0(m.state);
  const memory = memoryOf(i);
  const offset = effectiveAddress(m, memory);
  const sixtyFour = is64Bit(m.state);
  const based = !sixtyFour || memory.segment >= 4;
  const base = based ? m.state.segment(SEGMENT_NAMES[memory.segment] ?? "ds").base : 0n;
  m.invalidatePage(BigInt.asUintN(sixtyFour ? 64 : 32, base + offset), i);
}

export function invpcid(m: ExecutionEnvironment, i: DecodedInstruction): void {
  m.precheck("invpcid", i);
  requireCpl0(m.state);
  const register = operandOf(i, 0);
  const type = register.kind === "register" ? readRegister(m, register.register) : 0n;
  const memory = memoryOf(i);
  const at = effectiveAddress(m, memory);
  if (type > 3n) generalProtection();
  const low = loadSegmented(m, memory.segment, at, 8);
  const linear = loadSegmented(m, memory.segment, advance(memory, at, 8), 8);
  const pcid = low & CR3.PCID;
  if ((low & ~CR3.PCID) !== 0n) generalProtection();
  if (type <= 1n && pcid !== 0n && (cr4(m.state) & CR4.PCIDE) === 0n) generalProtection();
  if (type === 0n && !isCanonical(linear)) generalProtection();
  m.invalidatePcid(type, pcid, linear);
}
