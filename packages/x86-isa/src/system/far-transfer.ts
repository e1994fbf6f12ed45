import type { DecodedInstruction } from "../decode/instruction.js";
import type { ExecutionEnvironment, MemoryAccess } from "../environment.js";
import type { SegmentState } from "../state/cpu-state.js";
import { SEGMENT_RIGHTS, SYSTEM_DESCRIPTOR } from "../tables/segments.js";
import { VECTOR } from "../tables/vectors.js";
import {
  dplOf,
  isCode,
  isConforming,
  isNull,
  isPresent,
  isSystem,
  markAccessed,
  probeAccessed,
  readDescriptor,
  readUpperHalf,
  rplOf,
  segmentFrom,
  selectorError,
  typeOf,
  type Descriptor,
} from "./descriptors.js";
import { loadSegmented, peek, setStackPointer, stackPointer, StackWriter } from "./memory.js";
import {
  GPR,
  SLOT,
  cpl,
  fault,
  generalProtection,
  isCanonical,
  isLongMode,
  loadRealSegment,
  maskOf,
  usesDescriptors,
} from "./mode.js";
import { advance, effectiveAddress, operandOf } from "./operands.js";
import { dropInnerSegments, nullSegment, stackDescriptor } from "./segment-loads.js";
import { checkTaskDescriptor, innerStack } from "./tss.js";

interface FarPointer {
  readonly selector: number;
  readonly offset: bigint;
}

type Size = 2 | 4 | 8;

const operandBytes = (i: DecodedInstruction): Size => (i.operandSize === 0 ? 2 : i.operandSize);

function farOperand(m: ExecutionEnvironment, i: DecodedInstruction): FarPointer {
  const operand = operandOf(i, 0);
  if (operand.kind === "far") return { selector: operand.selector, offset: BigInt(operand.offset) };
  if (operand.kind !== "memory") throw new RangeError("a far transfer takes a far pointer");
  const size = operandBytes(i);
  const at = effectiveAddress(m, operand);
  const offset = loadSegmented(m, operand.segment, at, size);
  return { selector: Number(loadSegmented(m, operand.segment, advance(operand, at, size), 2)), offset };
}

/** The target offset lies within a code segment, or is canonical if the segment is a 64-bit one: else #GP(0). */
export function checkTarget(code: Pick<SegmentState, "limit" | "rights">, offset: bigint, long: boolean): void {
  const sixtyFour = long && (code.rights & SEGMENT_RIGHTS.L) !== 0;
  if (sixtyFour ? !isCanonical(offset) : offset > BigInt(code.limit)) generalProtection();
}

/** In IA-32e mode a code segment with both L and D is #GP. */
export function checkCodeSize(m: ExecutionEnvironment, d: Descriptor, ext = 0): void {
  const both = SEGMENT_RIGHTS.L | SEGMENT_RIGHTS.DB;
  if (isLongMode(m.state) && (d.rights & both) === both) generalProtection(selectorError(d.selector) | ext);
}

/** CS from a descriptor, with the RPL of the selector replaced by the privilege level that it runs at. */
export function codeSegment(m: ExecutionEnvironment, d: Descriptor, selector: number, level: number): SegmentState {
  return segmentFrom(d, (selector & ~3) | level, markAccessed(m, d));
}

/** Commit a transfer of control. */
export function transferTo(m: ExecutionEnvironment, cs: SegmentState, offset: bigint): void {
  m.state.setSegment("cs", cs);
  m.state.set64(SLOT.nextRip, offset);
  m.modeChanged();
}

/** What a far JMP or CALL does to save where it came from, once the target is known. */
type Link = "jmp" | "call";

function realTransfer(m: ExecutionEnvironment, link: Link, size: Size, { selector, offset }: FarPointer): void {
  const s = m.state;
  const target = offset & maskOf(size);
  if (target > BigInt(s.segment("cs").limit)) generalProtection();
  if (link === "call") pushLink(m, size).commit();
  loadRealSegment(m, "cs", selector);
  s.set64(SLOT.nextRip, target);
}

/** Push CS and the return address on the current stack; the stack pointer moves with the commit. */
function pushLink(m: ExecutionEnvironment, size: Size): { commit(): void } {
  const s = m.state;
  const writer = StackWriter.current(m);
  writer.push(size, BigInt(s.segment("cs").selector));
  writer.push(size, s.get64(SLOT.nextRip));
  writer.probe();
  return {
    commit: () => {
      writer.commit();
      setStackPointer(m, writer.pointer);
    },
  };
}

/** To a code segment without a gate: the privilege level stays. */
function directTransfer(m: ExecutionEnvironment, link: Link, size: Size, pointer: FarPointer, d: Descriptor): void {
  const { selector, offset } = pointer;
  const level = cpl(m.state);
  const error = selectorError(selector);
  const dpl = dplOf(d.rights);
  checkCodeSize(m, d);
  if (isConforming(d.rights) ? dpl > level : rplOf(selector) > level || dpl !== level) generalProtection(error);
  if (!isPresent(d.rights)) fault(VECTOR.NP, error);
  const target = offset & maskOf(size);
  checkTarget(d, target, isLongMode(m.state));
  probeAccessed(m, d);
  if (link === "call") pushLink(m, size).commit();
  transferTo(m, codeSegment(m, d, selector, level), target);
}

interface Gate {
  readonly selector: number;
  readonly offset: bigint;
  readonly size: Size;
  readonly parameters: number;
}

function readCallGate(m: ExecutionEnvironment, d: Descriptor): Gate {
  const low = d.raw & 0xffffn;
  const selector = Number((d.raw >> 16n) & 0xffffn);
  const middle = ((d.raw >> 48n) & 0xffffn) << 16n;
  if (isLongMode(m.state)) {
    const upper = readUpperHalf(m, d);
    if (upper.type !== 0) generalProtection(selectorError(d.selector));
    return { selector, offset: upper.high | middle | low, size: 8, parameters: 0 };
  }
  const wide = typeOf(d.rights) === SYSTEM_DESCRIPTOR.CALL_GATE;
  return {
    selector,
    offset: wide ? middle | low : low,
    size: wide ? 4 : 2,
    parameters: Number((d.raw >> 32n) & 0x1fn),
  };
}

/** The code segment that a call gate names (SDM vol. 3, "Accessing a Code Segment Through a Call Gate"). */
function gateTarget(m: ExecutionEnvironment, link: Link, gate: Gate): Descriptor {
  if (isNull(gate.selector)) generalProtection();
  const error = selectorError(gate.selector);
  const d = readDescriptor(m, gate.selector) ?? generalProtection(error);
  const dpl = dplOf(d.rights);
  const level = cpl(m.state);
  if (!isCode(d.rights) || dpl > level) generalProtection(error);
  if (isLongMode(m.state)) {
    // A gate of IA-32e mode leads to 64-bit code only.
    const size = d.rights & (SEGMENT_RIGHTS.L | SEGMENT_RIGHTS.DB);
    if (size !== SEGMENT_RIGHTS.L) generalProtection(error);
  }
  if (link === "jmp" && !isConforming(d.rights) && dpl !== level) generalProtection(error);
  if (!isPresent(d.rights)) fault(VECTOR.NP, error);
  return d;
}

function gateTransfer(m: ExecutionEnvironment, link: Link, pointer: FarPointer, descriptor: Descriptor): void {
  const s = m.state;
  const level = cpl(s);
  const error = selectorError(pointer.selector);
  const dpl = dplOf(descriptor.rights);
  if (dpl < level || dpl < rplOf(pointer.selector)) generalProtection(error);
  if (!isPresent(descriptor.rights)) fault(VECTOR.NP, error);
  const gate = readCallGate(m, descriptor);
  const code = gateTarget(m, link, gate);
  const inner = isConforming(code.rights) ? level : dplOf(code.rights);
  probeAccessed(m, code);
  if (link === "call" && inner < level) {
    innerCall(m, gate, code, inner);
    return;
  }
  checkTarget(code, gate.offset, isLongMode(s));
  if (link === "call") pushLink(m, gate.size).commit();
  transferTo(m, codeSegment(m, code, gate.selector, level), gate.offset);
}

/** A call gate to more privilege: stack from the TSS, parameters copied (SDM vol. 2, "CALL", MORE-PRIVILEGE). */
function innerCall(m: ExecutionEnvironment, gate: Gate, code: Descriptor, level: number): void {
  const s = m.state;
  const long = isLongMode(s);
  const stack = innerStack(m, level, 0);
  const ss: SegmentState = long
    ? nullSegment(level, level)
    : segmentFrom(stackDescriptor(m, stack.selector, level, VECTOR.TS), stack.selector);
  const addressBytes = long ? 8 : (ss.rights & SEGMENT_RIGHTS.DB) !== 0 ? 4 : 2;
  const access: MemoryAccess = { write: true, stack: true, system: true };
  const writer = new StackWriter(m, {
    segment: ss,
    pointer: stack.pointer,
    addressBytes,
    errorCode: selectorError(stack.selector),
    access,
  });
  writer.push(gate.size, BigInt(s.segment("ss").selector));
  writer.push(gate.size, s.gpr(GPR.RSP));
  for (let n = gate.parameters - 1; n >= 0; n--) writer.push(gate.size, peek(m, n * gate.size, gate.size));
  writer.push(gate.size, BigInt(s.segment("cs").selector));
  writer.push(gate.size, s.get64(SLOT.nextRip));
  writer.probe();
  checkTarget(code, gate.offset, long);
  writer.commit();
  const accessed = long ? ss : { ...ss, rights: markAccessed(m, stackDescriptor(m, stack.selector, level, VECTOR.TS)) };
  s.setSegment("ss", accessed);
  transferTo(m, codeSegment(m, code, gate.selector, level), gate.offset);
  const keep = addressBytes === 2 ? s.gpr(GPR.RSP) & ~0xffffn : 0n;
  s.setGpr(GPR.RSP, keep | writer.pointer);
}

const T = SYSTEM_DESCRIPTOR;

function protectedTransfer(m: ExecutionEnvironment, link: Link, size: Size, pointer: FarPointer): void {
  const { selector } = pointer;
  const long = isLongMode(m.state);
  if (isNull(selector)) generalProtection();
  const error = selectorError(selector);
  let d = readDescriptor(m, selector) ?? generalProtection(error);
  if (isCode(d.rights)) {
    directTransfer(m, link, size, pointer, d);
    return;
  }
  if (!isSystem(d.rights)) generalProtection(error);
  const type = typeOf(d.rights);
  if (long) {
    if (type !== T.CALL_GATE) generalProtection(error);
    d = readDescriptor(m, selector, 16) ?? generalProtection(error);
    gateTransfer(m, link, pointer, d);
    return;
  }
  switch (type) {
    case T.CALL_GATE16:
    case T.CALL_GATE:
      gateTransfer(m, link, pointer, d);
      return;
    case T.TASK_GATE: {
      const dpl = dplOf(d.rights);
      if (dpl < cpl(m.state) || dpl < rplOf(selector)) generalProtection(error);
      if (!isPresent(d.rights)) fault(VECTOR.NP, error);
      const task = Number((d.raw >> 16n) & 0xffffn);
      checkTaskDescriptor(m, task, VECTOR.GP, 0);
      m.taskSwitch(task, link);
      return;
    }
    case T.TSS16_AVAILABLE:
    case T.TSS_AVAILABLE: {
      const dpl = dplOf(d.rights);
      if (dpl < cpl(m.state) || dpl < rplOf(selector)) generalProtection(error);
      checkTaskDescriptor(m, selector, VECTOR.GP, 0);
      m.taskSwitch(selector, link);
      return;
    }
    default:
      generalProtection(error);
  }
}

function farTransfer(link: Link) {
  return (m: ExecutionEnvironment, i: DecodedInstruction): void => {
    const pointer = farOperand(m, i);
    const size = operandBytes(i);
    if (usesDescriptors(m.state)) protectedTransfer(m, link, size, pointer);
    else realTransfer(m, link, size, pointer);
  };
}

export const jmpFar = farTransfer("jmp");
export const callFar = farTransfer("call");

/** RET far, with its immediate (SDM vol. 2, "RET - Return From Procedure"). */
export function retFar(m: ExecutionEnvironment, i: DecodedInstruction): void {
  const s = m.state;
  const size = operandBytes(i);
  const operand = i.operands[0];
  const release = operand?.kind === "immediate" ? Number(operand.value & 0xffffn) : 0;
  const target = peek(m, 0, size);
  const selector = Number(peek(m, size, size) & 0xffffn);
  if (!usesDescriptors(s)) {
    if (target > BigInt(s.segment("cs").limit)) generalProtection();
    setStackPointer(m, stackPointer(m) + BigInt(2 * size + release));
    loadRealSegment(m, "cs", selector);
    s.set64(SLOT.nextRip, target);
    return;
  }
  const code = returnCode(m, selector);
  if (rplOf(selector) === cpl(s)) {
    checkTarget(code, target, isLongMode(s));
    const cs = codeSegment(m, code, selector, rplOf(selector));
    // The stack-address size is that of the mode that is left.
    setStackPointer(m, stackPointer(m) + BigInt(2 * size + release));
    transferTo(m, cs, target);
    return;
  }
  const pointer = peek(m, 2 * size + release, size);
  const ssSelector = Number(peek(m, 3 * size + release, size) & 0xffffn);
  outerReturn(m, { code, selector, target, ssSelector, pointer, release, size });
}

/** CS as RET and IRET check it: by the RPL of the selector that is popped. */
export function returnCode(m: ExecutionEnvironment, selector: number): Descriptor {
  if (isNull(selector)) generalProtection();
  const error = selectorError(selector);
  const d = readDescriptor(m, selector) ?? generalProtection(error);
  const rpl = rplOf(selector);
  const dpl = dplOf(d.rights);
  if (!isCode(d.rights) || rpl < cpl(m.state)) generalProtection(error);
  checkCodeSize(m, d);
  if (isConforming(d.rights) ? dpl > rpl : dpl !== rpl) generalProtection(error);
  if (!isPresent(d.rights)) fault(VECTOR.NP, error);
  return d;
}

export interface OuterReturn {
  readonly code: Descriptor;
  readonly selector: number;
  readonly target: bigint;
  readonly ssSelector: number;
  readonly pointer: bigint;
  /** Parameter bytes that RET releases on the outer stack too. */
  readonly release: number;
  readonly size: Size;
}

/**
 * The SS that a return to privilege level `level` may load; a null one only where it leads to 64-bit mode below CPL 3.
 * Call the result to load it: it marks the descriptor accessed.
 */
export function returnStack(
  m: ExecutionEnvironment,
  code: Descriptor,
  selector: number,
  level: number,
): () => SegmentState {
  if (!isNull(selector)) {
    const d = stackDescriptor(m, selector, level);
    probeAccessed(m, d);
    return () => segmentFrom(d, selector, markAccessed(m, d));
  }
  const toLong = isLongMode(m.state) && (code.rights & SEGMENT_RIGHTS.L) !== 0;
  if (!toLong || level === 3 || rplOf(selector) !== level) generalProtection();
  return () => nullSegment(selector, level);
}

function outerReturn(m: ExecutionEnvironment, r: OuterReturn): void {
  const level = rplOf(r.selector);
  const ss = returnStack(m, r.code, r.ssSelector, level);
  checkTarget(r.code, r.target, isLongMode(m.state));
  const cs = codeSegment(m, r.code, r.selector, level);
  loadOuter(m, cs, ss, r.target, r.pointer, r.release);
}

/** Commit a return to an outer privilege level. */
export function loadOuter(
  m: ExecutionEnvironment,
  cs: SegmentState,
  ss: () => SegmentState,
  target: bigint,
  pointer: bigint,
  release: number,
  outer = true,
): void {
  m.state.setSegment("ss", ss());
  transferTo(m, cs, target);
  setStackPointer(m, pointer + BigInt(release));
  if (outer) dropInnerSegments(m, rplOf(cs.selector));
}
