import type { DecodedInstruction } from "../decode/instruction.js";
import type { ExecutionEnvironment } from "../environment.js";
import type { SegmentState } from "../state/cpu-state.js";
import { SEGMENT_NAMES, type SegmentName } from "../state/layout.js";
import { INTERRUPTIBILITY } from "../tables/events.js";
import { SEGMENT_RIGHTS, SEGMENT_RIGHTS_DPL_SHIFT } from "../tables/segments.js";
import { VECTOR } from "../tables/vectors.js";
import {
  dplOf,
  isConforming,
  isNull,
  isPresent,
  isReadable,
  isSystem,
  isWritableData,
  markAccessed,
  readDescriptor,
  rplOf,
  segmentFrom,
  selectorError,
  type Descriptor,
} from "./descriptors.js";
import { peek, SEGMENT, setStackPointer, stackPointer } from "./memory.js";
import { SLOT, cpl, fault, generalProtection, is64Bit, loadRealSegment, usesDescriptors } from "./mode.js";
import { advance, effectiveAddress, memoryOf, operandOf, readOperand, segmentIndex, writeOperand } from "./operands.js";
import { loadSegmented } from "./memory.js";

/** A segment register after a null selector: unusable. SS keeps the privilege level, which is its DPL. */
export function nullSegment(selector: number, dpl = 0): SegmentState {
  return { selector, base: 0n, limit: 0, rights: SEGMENT_RIGHTS.UNUSABLE | (dpl << SEGMENT_RIGHTS_DPL_SHIFT) };
}

/**
 * The descriptor for SS at privilege level `level`, checked as "MOV" has it. `vector` is #GP for an instruction that
 * names SS, #TS for a stack that comes from a TSS; `ext` is the EXT bit of the error codes.
 */
export function stackDescriptor(
  m: ExecutionEnvironment,
  selector: number,
  level: number,
  vector: number = VECTOR.GP,
  ext = 0,
): Descriptor {
  const error = selectorError(selector) | ext;
  const d = readDescriptor(m, selector) ?? fault(vector, error);
  if (rplOf(selector) !== level || dplOf(d.rights) !== level || !isWritableData(d.rights)) fault(vector, error);
  if (!isPresent(d.rights)) fault(VECTOR.SS, error);
  return d;
}

function dataDescriptor(m: ExecutionEnvironment, selector: number): Descriptor {
  const error = selectorError(selector);
  const d = readDescriptor(m, selector) ?? generalProtection(error);
  if (isSystem(d.rights) || !isReadable(d.rights)) generalProtection(error);
  const dpl = dplOf(d.rights);
  if (!isConforming(d.rights) && (rplOf(selector) > dpl || cpl(m.state) > dpl)) generalProtection(error);
  if (!isPresent(d.rights)) fault(VECTOR.NP, error);
  return d;
}

/** What loading `selector` into a data or stack segment register gives; the accessed bit of its descriptor is set. */
function resolveSegment(m: ExecutionEnvironment, name: SegmentName, selector: number): SegmentState {
  const s = m.state;
  const level = cpl(s);
  if (isNull(selector)) {
    if (name !== "ss") return nullSegment(selector);
    if (!is64Bit(s) || level === 3 || rplOf(selector) !== level) generalProtection();
    return nullSegment(selector, level);
  }
  const d = name === "ss" ? stackDescriptor(m, selector, level) : dataDescriptor(m, selector);
  return segmentFrom(d, selector, markAccessed(m, d));
}

/** Load ES, SS, DS, FS or GS in any mode (SDM vol. 2, "MOV - Move", operation of a segment-register load). */
export function loadSegmentRegister(m: ExecutionEnvironment, index: number, selector: number): void {
  const name = SEGMENT_NAMES[index] ?? "ds";
  if (!usesDescriptors(m.state)) {
    loadRealSegment(m, name, selector);
    return;
  }
  m.state.setSegment(name, resolveSegment(m, name, selector));
  m.modeChanged();
}

/** No interrupt is taken before the next instruction ends (SDM vol. 3, "Masking Exceptions and Interrupts When Switching Stacks"). */
export function blockByMovSs(m: ExecutionEnvironment): void {
  const s = m.state;
  s.set32(SLOT.interruptibility, s.get32(SLOT.interruptibility) | INTERRUPTIBILITY.MOV_SS);
}

/** MOV Sreg, r/m16. */
export function movSegment(m: ExecutionEnvironment, i: DecodedInstruction): void {
  const index = segmentIndex(i, 0);
  loadSegmentRegister(m, index, Number(readOperand(m, operandOf(i, 1), 2)));
  if (index === SEGMENT.SS) blockByMovSs(m);
}

/** POP Sreg. */
export function popSegment(m: ExecutionEnvironment, i: DecodedInstruction): void {
  const index = segmentIndex(i, 0);
  const size = i.operandSize === 0 ? 2 : i.operandSize;
  // The pop moves the stack pointer of the old stack; only SS itself changes which that is.
  const value = Number(peek(m, 0, 2) & 0xffffn);
  const pointer = stackPointer(m) + BigInt(size);
  if (index !== SEGMENT.SS) {
    loadSegmentRegister(m, index, value);
    setStackPointer(m, pointer);
    return;
  }
  const before = m.state.segment("ss");
  loadSegmentRegister(m, index, value);
  const after = m.state.segment("ss");
  m.state.setSegment("ss", before);
  setStackPointer(m, pointer);
  m.state.setSegment("ss", after);
  blockByMovSs(m);
}

/** LDS, LES, LFS, LGS, LSS. */
export function loadFarPointer(index: number): (m: ExecutionEnvironment, i: DecodedInstruction) => void {
  return (m, i) => {
    const memory = memoryOf(i);
    const size = i.operandSize === 0 ? 2 : i.operandSize;
    const at = effectiveAddress(m, memory);
    const offset = loadSegmented(m, memory.segment, at, size);
    const selector = Number(loadSegmented(m, memory.segment, advance(memory, at, size), 2));
    loadSegmentRegister(m, index, selector);
    writeOperand(m, operandOf(i, 0), size, offset);
  };
}

/** Make a data segment register unusable that a return to an outer level may not keep (SDM vol. 2, "RET", "IRET"). */
export function dropInnerSegments(m: ExecutionEnvironment, level: number): void {
  const s = m.state;
  for (const name of ["es", "ds", "fs", "gs"] as const) {
    const segment = s.segment(name);
    const { rights } = segment;
    if ((rights & SEGMENT_RIGHTS.UNUSABLE) !== 0 || isNull(segment.selector)) continue;
    if (isConforming(rights) || dplOf(rights) >= level) continue;
    // The base stays, and 64-bit code goes on using those of FS and GS.
    s.setSegment(name, { ...segment, selector: 0, rights: rights | SEGMENT_RIGHTS.UNUSABLE });
  }
}
