import type { ExecutionEnvironment, MemoryAccess } from "../environment.js";
import type { SegmentState } from "../state/cpu-state.js";
import { INTERRUPTIBILITY, INTR_TYPE } from "../tables/events.js";
import { CR4, RFLAGS } from "../tables/registers.js";
import { SEGMENT_RIGHTS, SELECTOR_ERROR, SYSTEM_DESCRIPTOR } from "../tables/segments.js";
import { VECTOR } from "../tables/vectors.js";
import {
  dplOf,
  isCode,
  isConforming,
  isNull,
  isPresent,
  linearOf,
  markAccessed,
  probeAccessed,
  readDescriptor,
  segmentFrom,
  selectorError,
  type Descriptor,
} from "./descriptors.js";
import type { InterruptEvent } from "./event.js";
import { codeSegment } from "./far-transfer.js";
import { setStackPointer, StackWriter, SYSTEM_READ } from "./memory.js";
import {
  GPR,
  SLOT,
  cpl,
  cr4,
  fault,
  generalProtection,
  isCanonical,
  isLongMode,
  isProtected,
  isVirtual8086,
  loadRealSegment,
  setFlags,
  stackAddressBytes,
} from "./mode.js";
import { nullSegment, stackDescriptor } from "./segment-loads.js";
import { checkTaskDescriptor, innerStack, interruptStack } from "./tss.js";

/** Software events are the program's own: no EXT bit, and the gate's DPL is checked. INT1 counts as external. */
export function isSoftware(event: Pick<InterruptEvent, "type">): boolean {
  return event.type === INTR_TYPE.SOFT_INTR || event.type === INTR_TYPE.SOFT_EXCEPTION;
}

const RETURN_FLAGS_CLEARED = RFLAGS.TF | RFLAGS.NT | RFLAGS.RF | RFLAGS.VM;

/**
 * Deliver an interrupt or exception through the IVT (real mode) or the IDT (SDM vol. 2, "INT n", operation; vol. 3,
 * "Interrupt and Exception Handling"). The handler's address is left in `nextRip`. A fault on the way is thrown as
 * {@link GuestException} with nothing changed; `escalate` says what becomes of it.
 */
export function deliverEvent(m: ExecutionEnvironment, event: InterruptEvent): void {
  const s = m.state;
  if (!isProtected(s)) deliverReal(m, event);
  else if (isLongMode(s)) deliverLong(m, event);
  else deliverProtected(m, event);
  s.set32(SLOT.interruptibility, s.get32(SLOT.interruptibility) & ~(INTERRUPTIBILITY.STI | INTERRUPTIBILITY.MOV_SS));
}

/** RFLAGS as it is pushed. */
function flagsImage(m: ExecutionEnvironment, event: InterruptEvent): bigint {
  const flags = m.state.rflags;
  return event.resumeFlag === true ? flags | RFLAGS.RF : flags & ~(event.resumeFlag === false ? RFLAGS.RF : 0n);
}

function deliverReal(m: ExecutionEnvironment, event: InterruptEvent): void {
  const s = m.state;
  const at = event.vector * 4;
  if (at + 3 > s.get32(SLOT.idtrLimit)) generalProtection(idtError(event));
  pushReal(m, event, s.get64(SLOT.idtrBase) + BigInt(at), flagsImage(m, event));
  setFlags(m, 0n, RFLAGS.IF | RFLAGS.TF | RFLAGS.AC | RFLAGS.RF);
}

/** Push FLAGS, CS, IP and go where the four bytes of the vector point: real mode, and virtual-8086 mode redirected. */
function pushReal(m: ExecutionEnvironment, event: InterruptEvent, entry: bigint, flags: bigint): void {
  const s = m.state;
  const vector = m.load(linearOf(m, entry), 4, SYSTEM_READ);
  const writer = StackWriter.current(m);
  writer.push(2, flags);
  writer.push(2, BigInt(s.segment("cs").selector));
  writer.push(2, event.returnRip);
  writer.probe();
  writer.commit();
  setStackPointer(m, writer.pointer);
  loadRealSegment(m, "cs", Number(vector >> 16n));
  s.set64(SLOT.nextRip, vector & 0xffffn);
}

/**
 * INT n in virtual-8086 mode that the redirection bitmap sends to the program's own handler (SDM vol. 3, "Class 3 -
 * Software Interrupt Handling in Virtual-8086 Mode"; methods 5 and 6 of its table).
 */
export function redirectVirtual8086(m: ExecutionEnvironment, event: InterruptEvent): void {
  const s = m.state;
  const flags = s.rflags;
  const ioPrivileged = (flags & RFLAGS.IOPL) === RFLAGS.IOPL;
  if (ioPrivileged) {
    pushReal(m, event, BigInt(event.vector * 4), flags);
    setFlags(m, 0n, RFLAGS.IF | RFLAGS.TF | RFLAGS.RF);
    return;
  }
  // The image shows VIF as IF and an IOPL of 3.
  const enabled = (flags & RFLAGS.VIF) !== 0n ? RFLAGS.IF : 0n;
  pushReal(m, event, BigInt(event.vector * 4), (flags & ~RFLAGS.IF) | enabled | RFLAGS.IOPL);
  setFlags(m, 0n, RFLAGS.VIF | RFLAGS.TF | RFLAGS.RF);
}

/** Whether the software-interrupt redirection bitmap of the TSS sends `vector` to the program (CR4.VME). */
export function isRedirected(m: ExecutionEnvironment, vector: number): boolean {
  const s = m.state;
  if ((cr4(s) & CR4.VME) === 0n) return false;
  const tr = s.segment("tr");
  if (tr.limit < 0x67) generalProtection();
  const map = Number(m.load(linearOf(m, tr.base + 0x66n), 2, SYSTEM_READ));
  const offset = map - 32 + (vector >> 3);
  if (offset > tr.limit) generalProtection();
  const byte = Number(m.load(linearOf(m, tr.base + BigInt(offset)), 1, SYSTEM_READ));
  return ((byte >> (vector & 7)) & 1) === 0;
}

const extOf = (event: InterruptEvent): number => (isSoftware(event) ? 0 : SELECTOR_ERROR.EXT);
const idtError = (event: InterruptEvent): number => (event.vector << 3) | SELECTOR_ERROR.IDT | extOf(event);

interface Gate {
  readonly selector: number;
  readonly offset: bigint;
  readonly type: number;
  /** Bytes of each item pushed. */
  readonly size: 2 | 4 | 8;
  /** Interrupt-stack-table index, 0 for none. */
  readonly stack: number;
}

const T = SYSTEM_DESCRIPTOR;

/** Read and check the IDT entry of an event. */
function readGate(m: ExecutionEnvironment, event: InterruptEvent): Gate {
  const s = m.state;
  const long = isLongMode(s);
  const bytes = long ? 16 : 8;
  const error = idtError(event);
  const at = event.vector * bytes;
  if (at + bytes - 1 > s.get32(SLOT.idtrLimit)) generalProtection(error);
  const linear = linearOf(m, s.get64(SLOT.idtrBase) + BigInt(at));
  const raw = m.load(linear, 8, SYSTEM_READ);
  const upper = long ? m.load(linearOf(m, linear + 8n), 8, SYSTEM_READ) : 0n;
  const rights = Number((raw >> 40n) & 0xffn);
  const type = rights & 0x1f;
  const types: readonly number[] = long
    ? [T.INTERRUPT_GATE, T.TRAP_GATE]
    : [T.INTERRUPT_GATE, T.TRAP_GATE, T.INTERRUPT_GATE16, T.TRAP_GATE16, T.TASK_GATE];
  if (!types.includes(type)) generalProtection(error);
  if (isSoftware(event) && dplOf(rights) < cpl(s)) generalProtection(error);
  if (!isPresent(rights)) fault(VECTOR.NP, error);
  const wide = (type & 8) !== 0;
  const low = (raw & 0xffffn) | (wide ? ((raw >> 48n) & 0xffffn) << 16n : 0n);
  return {
    selector: Number((raw >> 16n) & 0xffffn),
    offset: long ? low | ((upper & 0xffffffffn) << 32n) : low,
    type,
    size: long ? 8 : wide ? 4 : 2,
    stack: long ? Number((raw >> 32n) & 7n) : 0,
  };
}

/** The handler's code segment: at least as privileged as the program. */
function handlerCode(m: ExecutionEnvironment, gate: Gate, ext: number): Descriptor {
  if (isNull(gate.selector)) generalProtection(ext);
  const error = selectorError(gate.selector) | ext;
  const d = readDescriptor(m, gate.selector) ?? generalProtection(error);
  if (!isCode(d.rights) || dplOf(d.rights) > cpl(m.state)) generalProtection(error);
  if (isLongMode(m.state) && (d.rights & (SEGMENT_RIGHTS.L | SEGMENT_RIGHTS.DB)) !== SEGMENT_RIGHTS.L) {
    generalProtection(error);
  }
  if (!isPresent(d.rights)) fault(VECTOR.NP, error);
  return d;
}

/** Enter the handler: flags by the gate's type, then CS and the instruction pointer. */
function enterHandler(m: ExecutionEnvironment, gate: Gate, code: Descriptor, level: number): void {
  const interruptGate = gate.type === T.INTERRUPT_GATE || gate.type === T.INTERRUPT_GATE16;
  setFlags(m, 0n, interruptGate ? RETURN_FLAGS_CLEARED | RFLAGS.IF : RETURN_FLAGS_CLEARED);
  m.state.setSegment("cs", codeSegment(m, code, gate.selector, level));
  m.state.set64(SLOT.nextRip, gate.offset);
}

const accessAt = (level: number, current: number): MemoryAccess =>
  // Pushes on the stack of an inner level have that level's privilege.
  level < 3 && current === 3 ? { write: true, stack: true, system: true } : { write: true, stack: true };

function deliverProtected(m: ExecutionEnvironment, event: InterruptEvent): void {
  const s = m.state;
  const ext = extOf(event);
  const gate = readGate(m, event);
  if (gate.type === T.TASK_GATE) {
    checkTaskDescriptor(m, gate.selector, VECTOR.GP, ext);
    m.taskSwitch(gate.selector, "gate", event.errorCode);
    return;
  }
  const code = handlerCode(m, gate, ext);
  const current = cpl(s);
  const v86 = isVirtual8086(s);
  const level = isConforming(code.rights) ? current : dplOf(code.rights);
  if (v86 && level !== 0) generalProtection(selectorError(gate.selector) | ext);
  probeAccessed(m, code);
  const flags = flagsImage(m, event);
  const oldSs = s.segment("ss");
  const oldPointer = s.gpr(GPR.RSP);
  const inner = level < current;
  let ss: SegmentState = oldSs;
  let stack: Descriptor | undefined;
  let writer: StackWriter;
  if (inner) {
    const target = innerStack(m, level, ext);
    stack = stackDescriptor(m, target.selector, level, VECTOR.TS, ext);
    probeAccessed(m, stack);
    ss = segmentFrom(stack, target.selector);
    writer = new StackWriter(m, {
      segment: ss,
      pointer: target.pointer,
      addressBytes: (ss.rights & SEGMENT_RIGHTS.DB) !== 0 ? 4 : 2,
      errorCode: selectorError(target.selector) | ext,
      access: accessAt(level, current),
    });
    if (v86) {
      for (const name of ["gs", "fs", "ds", "es"] as const) writer.push(gate.size, BigInt(s.segment(name).selector));
    }
    writer.push(gate.size, BigInt(oldSs.selector));
    writer.push(gate.size, oldPointer);
  } else {
    writer = new StackWriter(m, {
      segment: oldSs,
      pointer: oldPointer,
      addressBytes: stackAddressBytes(s) === 4 ? 4 : 2,
      errorCode: ext,
      access: accessAt(level, current),
    });
  }
  writer.push(gate.size, flags);
  writer.push(gate.size, BigInt(s.segment("cs").selector));
  writer.push(gate.size, event.returnRip);
  if (event.errorCode !== undefined) writer.push(gate.size, BigInt(event.errorCode));
  if (gate.offset > BigInt(code.limit)) generalProtection(ext);
  writer.probe();
  writer.commit();
  if (v86) {
    for (const name of ["gs", "fs", "ds", "es"] as const) s.setSegment(name, nullSegment(0));
  }
  enterHandler(m, gate, code, level);
  if (stack !== undefined) s.setSegment("ss", { ...ss, rights: markAccessed(m, stack) });
  // The privilege level is that of SS.
  m.modeChanged();
  setStackPointer(m, writer.pointer);
}

function deliverLong(m: ExecutionEnvironment, event: InterruptEvent): void {
  const s = m.state;
  const ext = extOf(event);
  const gate = readGate(m, event);
  const code = handlerCode(m, gate, ext);
  const current = cpl(s);
  const level = isConforming(code.rights) ? current : dplOf(code.rights);
  const inner = level < current;
  probeAccessed(m, code);
  const oldSs = s.segment("ss");
  let pointer = s.gpr(GPR.RSP);
  if (gate.stack !== 0) ({ pointer } = interruptStack(m, gate.stack, ext));
  else if (inner) ({ pointer } = innerStack(m, level, ext));
  if (!isCanonical(gate.offset)) generalProtection(ext);
  // The stack is aligned to 16 bytes, and SS:RSP is pushed always (SDM vol. 3, "64-Bit Mode Stack Frame").
  const writer = new StackWriter(m, {
    segment: oldSs,
    pointer: pointer & ~0xfn,
    addressBytes: 8,
    errorCode: ext,
    access: accessAt(level, current),
  });
  writer.push(8, BigInt(oldSs.selector));
  writer.push(8, s.gpr(GPR.RSP));
  writer.push(8, flagsImage(m, event));
  writer.push(8, BigInt(s.segment("cs").selector));
  writer.push(8, event.returnRip);
  if (event.errorCode !== undefined) writer.push(8, BigInt(event.errorCode));
  writer.probe();
  writer.commit();
  enterHandler(m, gate, code, level);
  if (inner) s.setSegment("ss", nullSegment(level, level));
  m.modeChanged();
  s.setGpr(GPR.RSP, writer.pointer);
}
