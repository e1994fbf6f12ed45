import type { DecodedInstruction } from "../decode/instruction.js";
import type { ExecutionEnvironment } from "../environment.js";
import type { SegmentState } from "../state/cpu-state.js";
import { CR4, EFER, RFLAGS } from "../tables/registers.js";
import { SEGMENT_RIGHTS, SEGMENT_RIGHTS_DPL_SHIFT } from "../tables/segments.js";
import {
  GPR,
  SLOT,
  cr4,
  generalProtection,
  is64Bit,
  isCanonical,
  isLongMode,
  isProtected,
  requireCpl0,
  setFlags,
  undefinedOpcode,
} from "./mode.js";
import { trapByFinalFlags } from "./single-step.js";
import { operandOf, readRegister, writeRegister } from "./operands.js";

const CODE = 0xb;
const DATA = 0x3;

/** A flat segment as these instructions load it, without reading a descriptor. */
function flat(selector: number, type: number, dpl: number, size: number): SegmentState {
  const fixed = SEGMENT_RIGHTS.S | SEGMENT_RIGHTS.P | SEGMENT_RIGHTS.G;
  return {
    selector: selector & 0xffff,
    base: 0n,
    limit: 0xffffffff,
    rights: type | fixed | (dpl << SEGMENT_RIGHTS_DPL_SHIFT) | size,
  };
}

function enter(m: ExecutionEnvironment, cs: number, ss: number, dpl: number, long: boolean, rip: bigint): void {
  const s = m.state;
  s.setSegment("cs", flat(cs, CODE, dpl, long ? SEGMENT_RIGHTS.L : SEGMENT_RIGHTS.DB));
  s.setSegment("ss", flat(ss, DATA, dpl, SEGMENT_RIGHTS.DB));
  s.set64(SLOT.nextRip, rip);
  m.modeChanged();
}

function requireSyscall(m: ExecutionEnvironment): void {
  const s = m.state;
  if (!is64Bit(s) && m.legacySyscall !== true) undefinedOpcode();
  if ((s.get64(SLOT.efer) & EFER.SCE) === 0n) undefinedOpcode();
}

/**
 * SYSCALL (SDM vol. 2, "SYSCALL - Fast System Call"). AMD has it in compatibility mode, with the target in CSTAR, and in
 * legacy mode, with the target in STAR and only IF and VM cleared (APM vol. 3, "SYSCALL").
 */
export function syscall(m: ExecutionEnvironment): void {
  requireSyscall(m);
  const s = m.state;
  const flags = s.rflags;
  const long = isLongMode(s);
  const star = s.get64(SLOT.star);
  const selector = Number((star >> 32n) & 0xfffcn);
  const target = long ? s.get64(is64Bit(s) ? SLOT.lstar : SLOT.cstar) : star & 0xffffffffn;
  s.setGpr(GPR.RCX, s.get64(SLOT.nextRip));
  if (long) s.setGpr(GPR.R11, flags);
  enter(m, selector, selector + 8, 0, long, target);
  const mask = long ? s.get64(SLOT.sfmask) & 0xffffffffn : RFLAGS.IF | RFLAGS.VM;
  setFlags(m, 0n, mask | RFLAGS.RF);
  trapByFinalFlags(m);
}

/** Flags that SYSRET takes from R11: all but RF and VM. */
const SYSRET_FLAGS = 0x3c7fd7n & ~RFLAGS.FIXED;

export function sysret(m: ExecutionEnvironment, i: DecodedInstruction): void {
  requireSyscall(m);
  requireCpl0(m.state);
  const s = m.state;
  if (!isLongMode(s)) {
    legacySysret(m);
    return;
  }
  const long = i.operandSize === 8;
  const rcx = s.gpr(GPR.RCX);
  if (long && !isCanonical(rcx)) generalProtection();
  const base = Number((s.get64(SLOT.star) >> 48n) & 0xffffn);
  const selector = long ? base + 16 : base;
  enter(m, selector | 3, (base + 8) | 3, 3, long, long ? rcx : rcx & 0xffffffffn);
  setFlags(m, s.gpr(GPR.R11) & SYSRET_FLAGS, SYSRET_FLAGS | RFLAGS.RF | RFLAGS.VM);
  trapByFinalFlags(m);
}

/** SYSRET outside IA-32e mode, AMD's: there is no flags image, interrupts are switched on. */
function legacySysret(m: ExecutionEnvironment): void {
  const s = m.state;
  const base = Number((s.get64(SLOT.star) >> 48n) & 0xffffn);
  enter(m, base | 3, (base + 8) | 3, 3, false, s.gpr(GPR.RCX) & 0xffffffffn);
  setFlags(m, RFLAGS.IF, RFLAGS.IF);
}

function sysenterSelector(m: ExecutionEnvironment): number {
  const s = m.state;
  const selector = Number(s.get64(SLOT.sysenterCs) & 0xfffcn);
  if (!isProtected(s) || selector === 0) generalProtection();
  return selector;
}

export function sysenter(m: ExecutionEnvironment): void {
  const s = m.state;
  const selector = sysenterSelector(m);
  const long = isLongMode(s);
  const mask = long ? 0xffff_ffff_ffff_ffffn : 0xffffffffn;
  setFlags(m, 0n, RFLAGS.VM | RFLAGS.IF | RFLAGS.RF);
  enter(m, selector, selector + 8, 0, long, s.get64(SLOT.sysenterEip) & mask);
  s.setGpr(GPR.RSP, s.get64(SLOT.sysenterEsp) & mask);
}

export function sysexit(m: ExecutionEnvironment, i: DecodedInstruction): void {
  const s = m.state;
  const selector = sysenterSelector(m);
  requireCpl0(s);
  const long = i.operandSize === 8;
  const mask = long ? 0xffff_ffff_ffff_ffffn : 0xffffffffn;
  const rip = s.gpr(GPR.RDX) & mask;
  const rsp = s.gpr(GPR.RCX) & mask;
  if (long && (!isCanonical(rip) || !isCanonical(rsp))) generalProtection();
  const cs = (selector + (long ? 32 : 16)) | 3;
  enter(m, cs, cs + 8, 3, long, rip);
  s.setGpr(GPR.RSP, rsp);
}

export function swapgs(m: ExecutionEnvironment): void {
  const s = m.state;
  if (!is64Bit(s)) undefinedOpcode();
  requireCpl0(s);
  const gs = s.segment("gs");
  s.setSegment("gs", { ...gs, base: s.get64(SLOT.kernelGsBase) });
  s.set64(SLOT.kernelGsBase, gs.base);
}

function requireFsGsBase(m: ExecutionEnvironment): void {
  if (!is64Bit(m.state) || (cr4(m.state) & CR4.FSGSBASE) === 0n) undefinedOpcode();
}

/** RDFSBASE, RDGSBASE. */
export function readBase(name: "fs" | "gs") {
  return (m: ExecutionEnvironment, i: DecodedInstruction): void => {
    requireFsGsBase(m);
    const operand = operandOf(i, 0);
    if (operand.kind === "register") writeRegister(m, operand.register, m.state.segment(name).base);
  };
}

/** WRFSBASE, WRGSBASE. */
export function writeBase(name: "fs" | "gs") {
  return (m: ExecutionEnvironment, i: DecodedInstruction): void => {
    requireFsGsBase(m);
    const operand = operandOf(i, 0);
    if (operand.kind !== "register") return;
    const base = readRegister(m, operand.register);
    if (!isCanonical(base)) generalProtection();
    m.state.setSegment(name, { ...m.state.segment(name), base });
  };
}
