import type { ExecutionEnvironment } from "../environment.js";
import { SYSTEM_DESCRIPTOR } from "../tables/segments.js";
import { VECTOR } from "../tables/vectors.js";
import { isNull, isPresent, isSystem, linearOf, readDescriptor, selectorError, typeOf } from "./descriptors.js";
import { SYSTEM_READ } from "./memory.js";
import { fault, isCanonical, isLongMode } from "./mode.js";

/** A stack that the TSS names. In IA-32e mode it has no selector. */
export interface TssStack {
  readonly selector: number;
  readonly pointer: bigint;
}

/** Stack pointer of privilege level `level` (SDM vol. 3, "Task-State Segment (TSS)", "64-Bit Task State Segment"). */
export function innerStack(m: ExecutionEnvironment, level: number, ext: number): TssStack {
  const tr = m.state.segment("tr");
  const outside = selectorError(tr.selector) | ext;
  if (isLongMode(m.state)) return { selector: 0, pointer: longStack(m, 4 + level * 8, ext) };
  const wide = (typeOf(tr.rights) & 8) !== 0;
  const offset = wide ? 4 + level * 8 : 2 + level * 4;
  if (offset + (wide ? 5 : 3) > tr.limit) fault(VECTOR.TS, outside);
  const at = linearOf(m, tr.base + BigInt(offset));
  const pointer = m.load(at, wide ? 4 : 2, SYSTEM_READ);
  const selector = Number(m.load(linearOf(m, at + (wide ? 4n : 2n)), 2, SYSTEM_READ));
  if (isNull(selector)) fault(VECTOR.TS, ext);
  return { selector, pointer };
}

/** Stack `n` (1 to 7) of the interrupt stack table. */
export function interruptStack(m: ExecutionEnvironment, n: number, ext: number): TssStack {
  return { selector: 0, pointer: longStack(m, 0x1c + n * 8, ext) };
}

function longStack(m: ExecutionEnvironment, offset: number, ext: number): bigint {
  const tr = m.state.segment("tr");
  if (offset + 7 > tr.limit) fault(VECTOR.TS, selectorError(tr.selector) | ext);
  const pointer = m.load(linearOf(m, tr.base + BigInt(offset)), 8, SYSTEM_READ);
  if (!isCanonical(pointer)) fault(VECTOR.SS, ext);
  return pointer;
}

const TASK_TYPES: Readonly<Record<"available" | "busy", readonly number[]>> = {
  available: [SYSTEM_DESCRIPTOR.TSS_AVAILABLE, SYSTEM_DESCRIPTOR.TSS16_AVAILABLE],
  busy: [SYSTEM_DESCRIPTOR.TSS_BUSY, SYSTEM_DESCRIPTOR.TSS16_BUSY],
};

/** A selector that a task switch may go to: a present TSS in the GDT, available, or for IRET busy. */
export function checkTaskDescriptor(
  m: ExecutionEnvironment,
  selector: number,
  vector: number,
  ext: number,
  state: "available" | "busy" = "available",
): void {
  const error = selectorError(selector) | ext;
  if (isNull(selector) || (selector & 4) !== 0) fault(vector, error);
  const d = readDescriptor(m, selector) ?? fault(vector, error);
  if (!isSystem(d.rights) || !TASK_TYPES[state].includes(typeOf(d.rights))) fault(vector, error);
  if (!isPresent(d.rights)) fault(VECTOR.NP, error);
}

/** Whether every bit of the I/O permission bitmap for `size` ports from `port` is 0 (SDM vol. 1, "I/O Permission Bit Map"). */
export function ioPermitted(m: ExecutionEnvironment, port: number, size: number): boolean {
  const tr = m.state.segment("tr");
  const wide = (typeOf(tr.rights) & 8) !== 0;
  if (!wide || tr.limit < 0x67) return false;
  const map = Number(m.load(linearOf(m, tr.base + 0x66n), 2, SYSTEM_READ));
  const offset = map + (port >> 3);
  // Two bytes are read always, so the last byte of the map has to be followed by one more within the limit.
  if (offset + 1 > tr.limit) return false;
  const bits = Number(m.load(linearOf(m, tr.base + BigInt(offset)), 2, SYSTEM_READ));
  return ((bits >> (port & 7)) & ((1 << size) - 1)) === 0;
}
