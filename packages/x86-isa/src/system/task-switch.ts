import { GuestException, type AccessSize, type ExecutionEnvironment } from "../environment.js";
import type { SegmentState } from "../state/cpu-state.js";
import type { SegmentName } from "../state/layout.js";
import { CR0, RFLAGS } from "../tables/registers.js";
import { SEGMENT_RIGHTS, SEGMENT_TYPE, SELECTOR, SYSTEM_DESCRIPTOR } from "../tables/segments.js";
import { VECTOR } from "../tables/vectors.js";
import {
  isCode,
  isConforming,
  isNull,
  isPresent,
  isReadable,
  isSystem,
  linearOf,
  markAccessed,
  readDescriptor,
  rplOf,
  segmentFrom,
  selectorError,
  typeOf,
  type Descriptor,
} from "./descriptors.js";
import { setStackPointer, StackWriter, SYSTEM_READ, SYSTEM_WRITE } from "./memory.js";
import { SLOT, cr0, dplOf, fault, isVirtual8086, loadRealSegment, maskOf } from "./mode.js";
import { nullSegment, stackDescriptor } from "./segment-loads.js";

/** What asked for a switch to another task. */
export interface TaskSwitch {
  /** Of the new task's TSS. */
  readonly selector: number;
  readonly cause: "call" | "iret" | "jmp" | "gate";
  /** Of the exception that a task gate handles: pushed on the new task's stack. */
  readonly errorCode?: number | undefined;
}

/** How a task switch that took place ended. */
export interface TaskSwitchOutcome {
  /** The new task's own fault: it comes before the task's first instruction. */
  readonly fault?: GuestException;
  /** The T flag of the new TSS: a debug trap (DR6.BT) comes before the task's first instruction. */
  readonly debugTrap: boolean;
}

/** Where a TSS keeps what (SDM vol. 3, "Task-State Segment (TSS)", "16-Bit Task-State Segment (TSS)"). */
interface TssFormat {
  /** Bytes that the limit has to cover. */
  readonly bytes: number;
  /** Of a register in it; a selector is stored in its low 2 bytes. */
  readonly size: 2 | 4;
  readonly ip: number;
  readonly flags: number;
  readonly registers: number;
  readonly selectors: number;
  readonly segments: readonly SegmentName[];
  readonly ldt: number;
  /** Page-directory base and debug-trap flag: the 32-bit format alone has them. */
  readonly cr3?: number;
  readonly trap?: number;
}

const TSS32: TssFormat = {
  bytes: 0x68, size: 4, ip: 0x20, flags: 0x24, registers: 0x28, selectors: 0x48, ldt: 0x60, cr3: 0x1c, trap: 0x64,
  segments: ["es", "cs", "ss", "ds", "fs", "gs"],
}; // prettier-ignore
const TSS16: TssFormat = {
  bytes: 0x2c, size: 2, ip: 0x0e, flags: 0x10, registers: 0x12, selectors: 0x22, ldt: 0x2a,
  segments: ["es", "cs", "ss", "ds"],
}; // prettier-ignore

/** EAX to EDI, in the order of their encodings. */
const REGISTERS = 8;
const BUSY = 2;
/** Type bit of the 32-bit system descriptors. */
const WIDE = 8;

const formatOf = (rights: number): TssFormat => ((typeOf(rights) & WIDE) !== 0 ? TSS32 : TSS16);

/**
 * Switch to another task (SDM vol. 3, "Task Switching"). The checks that decide whether there may be a switch at all,
 * privilege and type of gate and descriptor, are made before. State field `nextRip` is where the old task goes on, and
 * then where the new one does.
 *
 * @returns what the new task meets before its first instruction
 * @throws GuestException what the old task meets: nothing has happened
 */
export function switchTask(m: ExecutionEnvironment, { selector, cause, errorCode }: TaskSwitch): TaskSwitchOutcome {
  const s = m.state;
  const error = selectorError(selector);
  const target = readDescriptor(m, selector) ?? fault(VECTOR.TS, error);
  const format = formatOf(target.rights);
  if (!isPresent(target.rights)) fault(VECTOR.NP, error);
  if (target.limit < format.bytes - 1) fault(VECTOR.TS, error);

  const old = s.segment("tr");
  const nested = cause === "call" || cause === "gate";
  const oldDescriptor = nested ? undefined : (readDescriptor(m, old.selector) ?? fault(VECTOR.TS, error));
  const oldFormat = formatOf(old.rights);
  const oldBase = linearOf(m, old.base);
  const newBase = linearOf(m, target.base);
  m.probe(oldBase, oldFormat.bytes, SYSTEM_WRITE);
  m.probe(newBase, format.bytes, nested ? SYSTEM_WRITE : SYSTEM_READ);
  if (oldDescriptor !== undefined) m.probe(typeByte(m, oldDescriptor), 1, SYSTEM_WRITE);
  if (cause !== "iret") m.probe(typeByte(m, target), 1, SYSTEM_WRITE);

  if (oldDescriptor !== undefined) setBusy(m, oldDescriptor, false);
  saveTask(m, oldBase, oldFormat, cause === "iret" ? s.rflags & ~RFLAGS.NT : s.rflags);
  const image = readTask(m, newBase, format);
  // Refused page tables are the old task's fault. Without paging CR3 stays (SDM vol. 3, "Task Switching").
  if (image.cr3 !== undefined && (cr0(s) & CR0.PG) !== 0n) m.writeControl(3, image.cr3, 0);
  if (nested) m.store(newBase, 2, BigInt(old.selector), SYSTEM_WRITE);
  if (cause !== "iret") setBusy(m, target, true);
  s.setSegment("tr", segmentFrom(target, selector, target.rights | BUSY));
  m.taskSwitched();

  leaveVirtual8086(m);
  loadRegisters(m, image, nested);
  const debugTrap = image.trap;
  try {
    loadSegments(m, image, format);
    if (errorCode !== undefined) pushErrorCode(m, errorCode, format.size);
  } catch (caught) {
    if (!(caught instanceof GuestException)) throw caught;
    return { fault: caught, debugTrap };
  } finally {
    m.modeChanged();
  }
  return { debugTrap };
}

const typeByte = (m: ExecutionEnvironment, d: Descriptor): bigint => linearOf(m, d.linear + 5n);

function setBusy(m: ExecutionEnvironment, d: Descriptor, busy: boolean): void {
  const byte = (d.raw >> 40n) & 0xffn;
  m.store(typeByte(m, d), 1, busy ? byte | BigInt(BUSY) : byte & ~BigInt(BUSY), SYSTEM_WRITE);
}

function saveTask(m: ExecutionEnvironment, base: bigint, format: TssFormat, flags: bigint): void {
  const s = m.state;
  const { size } = format;
  const save = (offset: number, value: bigint, bytes: AccessSize = size): void =>
    m.store(linearOf(m, base + BigInt(offset)), bytes, value & maskOf(bytes), SYSTEM_WRITE);
  save(format.ip, s.get64(SLOT.nextRip));
  save(format.flags, flags);
  for (let i = 0; i < REGISTERS; i++) save(format.registers + i * size, s.gpr(i));
  format.segments.forEach((name, i) => save(format.selectors + i * size, BigInt(s.segment(name).selector), 2));
}

/** A task as its TSS has it. */
interface TaskImage {
  readonly ip: bigint;
  readonly flags: bigint;
  readonly registers: readonly bigint[];
  /** In the order of the format's segments. */
  readonly selectors: readonly number[];
  readonly ldt: number;
  readonly cr3: bigint | undefined;
  readonly trap: boolean;
}

function readTask(m: ExecutionEnvironment, base: bigint, format: TssFormat): TaskImage {
  const { size } = format;
  const read = (offset: number, bytes: AccessSize = size): bigint =>
    m.load(linearOf(m, base + BigInt(offset)), bytes, SYSTEM_READ);
  return {
    ip: read(format.ip),
    flags: read(format.flags),
    registers: Array.from({ length: REGISTERS }, (_, i) => read(format.registers + i * size)),
    selectors: format.segments.map((_, i) => Number(read(format.selectors + i * size, 2))),
    ldt: Number(read(format.ldt, 2)),
    cr3: format.cr3 === undefined ? undefined : read(format.cr3),
    trap: format.trap !== undefined && (read(format.trap, 2) & 1n) !== 0n,
  };
}

/** CS and SS of virtual-8086 mode are none of protected mode: make them what the kernel's are, until they are loaded. */
function leaveVirtual8086(m: ExecutionEnvironment): void {
  const s = m.state;
  if (!isVirtual8086(s)) return;
  const data = SEGMENT_RIGHTS.P | SEGMENT_RIGHTS.S | SEGMENT_TYPE.WRITABLE | SEGMENT_TYPE.ACCESSED;
  s.setSegment("cs", { ...s.segment("cs"), rights: data | SEGMENT_TYPE.CODE });
  s.setSegment("ss", { ...s.segment("ss"), rights: data });
}

function loadRegisters(m: ExecutionEnvironment, image: TaskImage, nested: boolean): void {
  const s = m.state;
  s.set64(SLOT.nextRip, image.ip);
  s.rflags = nested ? image.flags | RFLAGS.NT : image.flags;
  image.registers.forEach((value, i) => s.setGpr(i, value));
}

/**
 * Load the selectors, then what they name. Where one fails, those behind it stay without: the data segments unusable, and
 * CS and SS with the old hidden part, as no processor state exists without either.
 */
function loadSegments(m: ExecutionEnvironment, image: TaskImage, format: TssFormat): void {
  const s = m.state;
  const v86 = isVirtual8086(s);
  const selectorOf = new Map(format.segments.map((name, i) => [name, image.selectors[i] ?? 0]));
  for (const [name, selector] of selectorOf) {
    if (v86) loadRealSegment(m, name, selector);
    else if (name === "cs" || name === "ss") s.setSegment(name, { ...s.segment(name), selector });
    else s.setSegment(name, nullSegment(selector));
  }
  s.setSegment("ldtr", nullSegment(image.ldt));
  s.setSegment("ldtr", localTable(m, image.ldt));
  if (v86) return;
  const level = rplOf(selectorOf.get("cs") ?? 0);
  const cs = codeSegment(m, selectorOf.get("cs") ?? 0, level);
  // CS and SS change together: the privilege level is in both.
  const stackSelector = selectorOf.get("ss") ?? 0;
  if (isNull(stackSelector)) fault(VECTOR.TS, 0);
  const stack = stackDescriptor(m, stackSelector, level, VECTOR.TS);
  s.setSegment("ss", segmentFrom(stack, stackSelector, markAccessed(m, stack)));
  s.setSegment("cs", cs);
  for (const [name, selector] of selectorOf) {
    if (name !== "cs" && name !== "ss" && !isNull(selector)) s.setSegment(name, dataSegment(m, selector, level));
  }
}

function localTable(m: ExecutionEnvironment, selector: number): SegmentState {
  if (isNull(selector)) return nullSegment(selector);
  const error = selectorError(selector);
  if ((selector & SELECTOR.TI) !== 0) fault(VECTOR.TS, error);
  const d = readDescriptor(m, selector) ?? fault(VECTOR.TS, error);
  if (!isSystem(d.rights) || typeOf(d.rights) !== SYSTEM_DESCRIPTOR.LDT || !isPresent(d.rights))
    fault(VECTOR.TS, error);
  return segmentFrom(d, selector);
}

function codeSegment(m: ExecutionEnvironment, selector: number, level: number): SegmentState {
  const error = selectorError(selector);
  if (isNull(selector)) fault(VECTOR.TS, error);
  const d = readDescriptor(m, selector) ?? fault(VECTOR.TS, error);
  if (!isCode(d.rights)) fault(VECTOR.TS, error);
  const dpl = dplOf(d.rights);
  if (isConforming(d.rights) ? dpl > level : dpl !== level) fault(VECTOR.TS, error);
  if (!isPresent(d.rights)) fault(VECTOR.NP, error);
  return segmentFrom(d, selector, markAccessed(m, d));
}

function dataSegment(m: ExecutionEnvironment, selector: number, level: number): SegmentState {
  const error = selectorError(selector);
  const d = readDescriptor(m, selector) ?? fault(VECTOR.TS, error);
  if (isSystem(d.rights) || !isReadable(d.rights)) fault(VECTOR.TS, error);
  const dpl = dplOf(d.rights);
  if (!isConforming(d.rights) && (rplOf(selector) > dpl || level > dpl)) fault(VECTOR.TS, error);
  if (!isPresent(d.rights)) fault(VECTOR.NP, error);
  return segmentFrom(d, selector, markAccessed(m, d));
}

function pushErrorCode(m: ExecutionEnvironment, errorCode: number, size: 2 | 4): void {
  const stack = StackWriter.current(m);
  stack.push(size, BigInt(errorCode >>> 0));
  stack.probe();
  stack.commit();
  setStackPointer(m, stack.pointer);
}
