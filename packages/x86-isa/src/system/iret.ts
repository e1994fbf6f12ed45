import type { DecodedInstruction } from "../decode/instruction.js";
import type { ExecutionEnvironment } from "../environment.js";
import type { SegmentState } from "../state/cpu-state.js";
import { CR4, RFLAGS } from "../tables/registers.js";
import { VECTOR } from "../tables/vectors.js";
import { linearOf, rplOf } from "./descriptors.js";
import { checkTarget, codeSegment, loadOuter, returnCode, returnStack, transferTo } from "./far-transfer.js";
import { peek, setStackPointer, stackPointer, SYSTEM_READ } from "./memory.js";
import {
  GPR,
  SLOT,
  cpl,
  cr4,
  generalProtection,
  iopl,
  is64Bit,
  isLongMode,
  isProtected,
  isVirtual8086,
  loadRealSegment,
  setFlags,
  usesDescriptors,
} from "./mode.js";
import { checkTaskDescriptor } from "./tss.js";

type Size = 2 | 4 | 8;

const ARITHMETIC_AND_CONTROL =
  RFLAGS.CF | RFLAGS.PF | RFLAGS.AF | RFLAGS.ZF | RFLAGS.SF | RFLAGS.TF | RFLAGS.DF | RFLAGS.OF | RFLAGS.NT;

/** Flags that IRET may change with this operand size at privilege level `level` (SDM vol. 2, "IRET", operation). */
function returnFlags(size: Size, level: number, ioPrivilege: number): bigint {
  let mask: bigint = ARITHMETIC_AND_CONTROL;
  if (size !== 2) mask |= RFLAGS.RF | RFLAGS.AC | RFLAGS.ID;
  if (level <= ioPrivilege) mask |= RFLAGS.IF;
  if (level === 0) mask |= size === 2 ? RFLAGS.IOPL : RFLAGS.IOPL | RFLAGS.VIF | RFLAGS.VIP;
  return mask;
}

/** IRET, IRETD, IRETQ. */
export function iret(m: ExecutionEnvironment, i: DecodedInstruction): void {
  const s = m.state;
  const size: Size = i.operandSize === 0 ? 2 : i.operandSize;
  if (usesDescriptors(s) && (s.get64(SLOT.flagsRest) & RFLAGS.NT) !== 0n) taskReturn(m);
  else {
    m.interruptReturn("begin");
    if (!isProtected(s)) realReturn(m, size);
    else if (isVirtual8086(s)) virtual8086Return(m, size);
    else protectedReturn(m, size);
  }
  m.interruptReturn("end");
}

function realReturn(m: ExecutionEnvironment, size: Size): void {
  const s = m.state;
  const target = peek(m, 0, size);
  const selector = Number(peek(m, size, size) & 0xffffn);
  const flags = peek(m, 2 * size, size);
  if (target > BigInt(s.segment("cs").limit)) generalProtection();
  setStackPointer(m, stackPointer(m) + BigInt(3 * size));
  loadRealSegment(m, "cs", selector);
  s.set64(SLOT.nextRip, target);
  setFlags(m, flags, returnFlags(size, 0, 3) & ~(RFLAGS.VIF | RFLAGS.VIP));
}

function virtual8086Return(m: ExecutionEnvironment, size: Size): void {
  const s = m.state;
  const vme = (cr4(s) & CR4.VME) !== 0n;
  if (iopl(s) !== 3 && (!vme || size !== 2)) generalProtection();
  const target = peek(m, 0, size);
  const selector = Number(peek(m, size, size) & 0xffffn);
  const flags = peek(m, 2 * size, size);
  if (target > 0xffffn) generalProtection();
  let image = flags;
  let mask = returnFlags(size, 3, 3);
  if (iopl(s) !== 3) {
    // With VME, IF of the image goes to VIF; an interrupt that is pending for it, or TF, needs the monitor.
    const enable = (flags & RFLAGS.IF) !== 0n;
    const pending = (s.rflags & RFLAGS.VIP) !== 0n;
    if ((enable && pending) || (flags & RFLAGS.TF) !== 0n) generalProtection();
    image = enable ? flags | RFLAGS.VIF : flags & ~RFLAGS.VIF;
    mask = (mask & ~RFLAGS.IF) | RFLAGS.VIF;
  }
  setStackPointer(m, stackPointer(m) + BigInt(3 * size));
  loadRealSegment(m, "cs", selector);
  s.set64(SLOT.nextRip, target);
  setFlags(m, image, mask);
}

/** NT set: return to the task that the TSS links to. IA-32e mode has no tasks. */
function taskReturn(m: ExecutionEnvironment): void {
  if (isLongMode(m.state)) generalProtection();
  const selector = Number(m.load(linearOf(m, m.state.segment("tr").base), 2, SYSTEM_READ));
  checkTaskDescriptor(m, selector, VECTOR.TS, 0, "busy");
  m.taskSwitch(selector, "iret");
}

function protectedReturn(m: ExecutionEnvironment, size: Size): void {
  const s = m.state;
  const level = cpl(s);
  const target = peek(m, 0, size);
  const selector = Number(peek(m, size, size) & 0xffffn);
  const flags = peek(m, 2 * size, size);
  const long = isLongMode(s);
  if (size === 4 && !long && level === 0 && (flags & RFLAGS.VM) !== 0n) {
    returnToVirtual8086(m, target, selector, flags);
    return;
  }
  const code = returnCode(m, selector);
  const mask = returnFlags(size, level, iopl(s));
  const outer = rplOf(selector) > level;
  // 64-bit mode pops SS:RSP whether or not the privilege level changes.
  if (outer || is64Bit(s)) {
    const pointer = peek(m, 3 * size, size);
    const ssSelector = Number(peek(m, 4 * size, size) & 0xffffn);
    const next = rplOf(selector);
    const ss = returnStack(m, code, ssSelector, next);
    checkTarget(code, target, long);
    const cs = codeSegment(m, code, selector, next);
    loadOuter(m, cs, ss, target, pointer, 0, outer);
    setFlags(m, flags, mask);
    return;
  }
  checkTarget(code, target, long);
  const cs: SegmentState = codeSegment(m, code, selector, level);
  setStackPointer(m, stackPointer(m) + BigInt(3 * size));
  transferTo(m, cs, target);
  setFlags(m, flags, mask);
}

/** SDM vol. 2, "IRET", RETURN-TO-VIRTUAL-8086-MODE. */
function returnToVirtual8086(m: ExecutionEnvironment, target: bigint, selector: number, flags: bigint): void {
  const s = m.state;
  const pop = (n: number): bigint => peek(m, n * 4, 4);
  const word = (n: number): number => Number(pop(n) & 0xffffn);
  const pointer = pop(3);
  const selectors = { ss: word(4), es: word(5), ds: word(6), fs: word(7), gs: word(8) };
  if (target > 0xffffn) generalProtection();
  setFlags(m, flags, returnFlags(4, 0, 3) | RFLAGS.VM);
  loadRealSegment(m, "cs", selector);
  for (const name of ["ss", "es", "ds", "fs", "gs"] as const) loadRealSegment(m, name, selectors[name]);
  s.setGpr(GPR.RSP, pointer);
  s.set64(SLOT.nextRip, target);
}
