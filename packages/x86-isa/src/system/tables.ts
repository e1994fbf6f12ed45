import type { DecodedInstruction } from "../decode/instruction.js";
import type { ExecutionEnvironment } from "../environment.js";
import { CR4, RFLAGS } from "../tables/registers.js";
import { SYSTEM_DESCRIPTOR } from "../tables/segments.js";
import { VECTOR } from "../tables/vectors.js";
import {
  dplOf,
  isCode,
  isConforming,
  isNull,
  isPresent,
  isReadable,
  isSystem,
  isWritableData,
  linearOf,
  readDescriptor,
  readUpperHalf,
  rplOf,
  selectorError,
  typeOf,
  type Descriptor,
} from "./descriptors.js";
import { loadSegmented, SYSTEM_WRITE, linearAddress, writeAccess } from "./memory.js";
import {
  SLOT,
  cpl,
  cr4,
  fault,
  generalProtection,
  isCanonical,
  isLongMode,
  requireCpl0,
  requireDescriptors,
  setFlags,
} from "./mode.js";
import { advance, effectiveAddress, memoryOf, operandOf, readOperand, writeOperand } from "./operands.js";
import { nullSegment } from "./segment-loads.js";

/** User-mode instruction prevention: #GP(0) for what would show system state at CPL above 0. */
export function checkUmip(m: ExecutionEnvironment): void {
  if ((cr4(m.state) & CR4.UMIP) !== 0n && cpl(m.state) > 0) generalProtection();
}

function storeTableRegister(which: "sgdt" | "sidt") {
  return (m: ExecutionEnvironment, i: DecodedInstruction): void => {
    checkUmip(m);
    m.descriptorTable(which, i);
    const s = m.state;
    const memory = memoryOf(i);
    const at = effectiveAddress(m, memory);
    const base = s.get64(which === "sgdt" ? SLOT.gdtrBase : SLOT.idtrBase);
    const limit = s.get32(which === "sgdt" ? SLOT.gdtrLimit : SLOT.idtrLimit);
    const size = i.bitness === 64 ? 8 : 4;
    const access = writeAccess(memory.segment);
    const limitAt = linearAddress(m, memory.segment, at, 2, true);
    const baseAt = linearAddress(m, memory.segment, advance(memory, at, 2), size, true);
    m.probe(baseAt, size, access);
    m.store(limitAt, 2, BigInt(limit & 0xffff), access);
    m.store(baseAt, size, BigInt.asUintN(size * 8, base), access);
  };
}

function loadTableRegister(which: "lgdt" | "lidt") {
  return (m: ExecutionEnvironment, i: DecodedInstruction): void => {
    requireCpl0(m.state);
    m.descriptorTable(which, i);
    const s = m.state;
    const memory = memoryOf(i);
    const at = effectiveAddress(m, memory);
    const limit = Number(loadSegmented(m, memory.segment, at, 2));
    const size = i.bitness === 64 ? 8 : 4;
    let base = loadSegmented(m, memory.segment, advance(memory, at, 2), size);
    // An operand size of 16 bits loads a base of 24 bits.
    if (i.bitness !== 64 && i.operandSize === 2) base &= 0xffffffn;
    if (i.bitness === 64 && !isCanonical(base)) generalProtection();
    s.set64(which === "lgdt" ? SLOT.gdtrBase : SLOT.idtrBase, base);
    s.set32(which === "lgdt" ? SLOT.gdtrLimit : SLOT.idtrLimit, limit);
  };
}

export const sgdt = storeTableRegister("sgdt");
export const sidt = storeTableRegister("sidt");
export const lgdt = loadTableRegister("lgdt");
export const lidt = loadTableRegister("lidt");

/** A system descriptor of one of `types`, from the GDT; its base extended in IA-32e mode. */
function systemDescriptor(m: ExecutionEnvironment, selector: number, types: readonly number[]): Descriptor {
  const error = selectorError(selector);
  if ((selector & 4) !== 0) generalProtection(error);
  const long = isLongMode(m.state);
  const d = readDescriptor(m, selector, long ? 16 : 8) ?? generalProtection(error);
  if (!isSystem(d.rights) || !types.includes(typeOf(d.rights))) generalProtection(error);
  if (!isPresent(d.rights)) fault(VECTOR.NP, error);
  if (!long) return d;
  const upper = readUpperHalf(m, d);
  const base = d.base | upper.high;
  if (upper.type !== 0 || !isCanonical(base)) generalProtection(error);
  return { ...d, base };
}

export function lldt(m: ExecutionEnvironment, i: DecodedInstruction): void {
  requireDescriptors(m.state);
  requireCpl0(m.state);
  m.descriptorTable("lldt", i);
  const selector = Number(readOperand(m, operandOf(i, 0), 2));
  if (isNull(selector)) {
    m.state.setSegment("ldtr", nullSegment(selector));
    return;
  }
  const d = systemDescriptor(m, selector, [SYSTEM_DESCRIPTOR.LDT]);
  m.state.setSegment("ldtr", { selector, base: d.base, limit: d.limit, rights: d.rights });
}

export function ltr(m: ExecutionEnvironment, i: DecodedInstruction): void {
  requireDescriptors(m.state);
  requireCpl0(m.state);
  m.descriptorTable("ltr", i);
  const selector = Number(readOperand(m, operandOf(i, 0), 2));
  if (isNull(selector)) generalProtection();
  const types = isLongMode(m.state)
    ? [SYSTEM_DESCRIPTOR.TSS_AVAILABLE]
    : [SYSTEM_DESCRIPTOR.TSS_AVAILABLE, SYSTEM_DESCRIPTOR.TSS16_AVAILABLE];
  const d = systemDescriptor(m, selector, types);
  const busy = 2;
  m.store(linearOf(m, d.linear + 5n), 1, ((d.raw >> 40n) & 0xffn) | BigInt(busy), SYSTEM_WRITE);
  m.state.setSegment("tr", { selector, base: d.base, limit: d.limit, rights: d.rights | busy });
}

function storeSelector(which: "sldt" | "str") {
  return (m: ExecutionEnvironment, i: DecodedInstruction): void => {
    requireDescriptors(m.state);
    checkUmip(m);
    m.descriptorTable(which, i);
    // A register destination takes the selector zero-extended to the operand size, memory always 16 bits.
    writeOperand(m, operandOf(i, 0), 2, BigInt(m.state.segment(which === "sldt" ? "ldtr" : "tr").selector));
  };
}

export const sldt = storeSelector("sldt");
export const str = storeSelector("str");

const setZero = (m: ExecutionEnvironment, zero: boolean): void => setFlags(m, zero ? RFLAGS.ZF : 0n, RFLAGS.ZF);

/** The descriptor that LAR, LSL, VERR or VERW may look at: within its table and visible at CPL and RPL. */
function visibleDescriptor(m: ExecutionEnvironment, selector: number): Descriptor | undefined {
  if (isNull(selector)) return undefined;
  const d = readDescriptor(m, selector);
  if (d === undefined) return undefined;
  const dpl = dplOf(d.rights);
  return isConforming(d.rights) || (cpl(m.state) <= dpl && rplOf(selector) <= dpl) ? d : undefined;
}

const T = SYSTEM_DESCRIPTOR;
// System types that the tables of "LAR" and "LSL" call valid, outside and in IA-32e mode.
const LAR_TYPES: readonly number[] = [
  T.TSS16_AVAILABLE,
  T.LDT,
  T.TSS16_BUSY,
  T.CALL_GATE16,
  T.TASK_GATE,
  T.TSS_AVAILABLE,
  T.TSS_BUSY,
  T.CALL_GATE,
];
const LAR_TYPES_LONG: readonly number[] = [T.LDT, T.TSS_AVAILABLE, T.TSS_BUSY, T.CALL_GATE];
const LSL_TYPES: readonly number[] = [T.TSS16_AVAILABLE, T.LDT, T.TSS16_BUSY, T.TSS_AVAILABLE, T.TSS_BUSY];
const LSL_TYPES_LONG: readonly number[] = [T.LDT, T.TSS_AVAILABLE, T.TSS_BUSY];

function inspect(types: readonly number[], longTypes: readonly number[], result: (d: Descriptor) => bigint) {
  return (m: ExecutionEnvironment, i: DecodedInstruction): void => {
    requireDescriptors(m.state);
    const selector = Number(readOperand(m, operandOf(i, 1), 2));
    const d = visibleDescriptor(m, selector);
    const known = isLongMode(m.state) ? longTypes : types;
    const valid = d !== undefined && (!isSystem(d.rights) || known.includes(typeOf(d.rights)));
    if (valid) writeOperand(m, operandOf(i, 0), 8, result(d));
    setZero(m, valid);
  };
}

/** The second doubleword of the descriptor, without base and limit. */
export const lar = inspect(LAR_TYPES, LAR_TYPES_LONG, (d) => (d.raw >> 32n) & 0xf0ff00n);
export const lsl = inspect(LSL_TYPES, LSL_TYPES_LONG, (d) => BigInt(d.limit));

function verify(permitted: (rights: number) => boolean) {
  return (m: ExecutionEnvironment, i: DecodedInstruction): void => {
    requireDescriptors(m.state);
    const d = visibleDescriptor(m, Number(readOperand(m, operandOf(i, 0), 2)));
    setZero(m, d !== undefined && !isSystem(d.rights) && permitted(d.rights));
  };
}

export const verr = verify(isReadable);
export const verw = verify((rights) => !isCode(rights) && isWritableData(rights));

/** Adjust the RPL of the first selector to that of the second if it is lower. Not an instruction of 64-bit mode. */
export function arpl(m: ExecutionEnvironment, i: DecodedInstruction): void {
  requireDescriptors(m.state);
  const destination = operandOf(i, 0);
  const selector = Number(readOperand(m, destination, 2));
  const rpl = rplOf(Number(readOperand(m, operandOf(i, 1), 2)));
  const lower = rplOf(selector) < rpl;
  if (lower) writeOperand(m, destination, 2, BigInt((selector & ~3) | rpl));
  setZero(m, lower);
}
