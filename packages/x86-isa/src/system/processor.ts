import type { DecodedInstruction } from "../decode/instruction.js";
import type { ExecutionEnvironment } from "../environment.js";
import { CR4, RFLAGS } from "../tables/registers.js";
import { readExtendedControl } from "./fpu-state.js";
import { SEGMENT, linearAddress, readAccess } from "./memory.js";
import { GPR, SLOT, cpl, cr4, generalProtection, maskOf, requireCpl0, setFlags, undefinedOpcode } from "./mode.js";
import { operandOf, registerIndex, writeOperand } from "./operands.js";
import { generalRegister } from "../decode/registers.js";

const low32 = (m: ExecutionEnvironment, index: number): number => Number(m.state.gpr(index) & 0xffffffffn);

function setPair(m: ExecutionEnvironment, value: bigint): void {
  m.state.setGpr(GPR.RAX, value & 0xffffffffn);
  m.state.setGpr(GPR.RDX, (value >> 32n) & 0xffffffffn);
}

const pair = (m: ExecutionEnvironment): bigint =>
  (m.state.gpr(GPR.RAX) & 0xffffffffn) | ((m.state.gpr(GPR.RDX) & 0xffffffffn) << 32n);

export function cpuid(m: ExecutionEnvironment): void {
  const { eax, ebx, ecx, edx } = m.cpuid(low32(m, GPR.RAX), low32(m, GPR.RCX));
  const s = m.state;
  s.setGpr(GPR.RAX, BigInt(eax >>> 0));
  s.setGpr(GPR.RBX, BigInt(ebx >>> 0));
  s.setGpr(GPR.RCX, BigInt(ecx >>> 0));
  s.setGpr(GPR.RDX, BigInt(edx >>> 0));
}

function checkTimeStampDisable(m: ExecutionEnvironment): void {
  if ((cr4(m.state) & CR4.TSD) !== 0n && cpl(m.state) > 0) generalProtection();
}

export function rdtsc(m: ExecutionEnvironment): void {
  checkTimeStampDisable(m);
  setPair(m, m.readTsc("rdtsc"));
}

export function rdtscp(m: ExecutionEnvironment, i: DecodedInstruction): void {
  m.precheck("rdtscp", i);
  checkTimeStampDisable(m);
  setPair(m, m.readTsc("rdtscp"));
  m.state.setGpr(GPR.RCX, m.state.get64(SLOT.tscAux) & 0xffffffffn);
}

export function rdpid(m: ExecutionEnvironment, i: DecodedInstruction): void {
  m.state.setGpr(registerIndex(i, 0), m.state.get64(SLOT.tscAux) & 0xffffffffn);
}

export function rdpmc(m: ExecutionEnvironment): void {
  if ((cr4(m.state) & CR4.PCE) === 0n && cpl(m.state) > 0) generalProtection();
  setPair(m, m.readPmc(low32(m, GPR.RCX)));
}

export function rdmsr(m: ExecutionEnvironment): void {
  requireCpl0(m.state);
  setPair(m, m.readMsr(low32(m, GPR.RCX)));
}

export function wrmsr(m: ExecutionEnvironment): void {
  requireCpl0(m.state);
  m.writeMsr(low32(m, GPR.RCX), pair(m));
}

export function hlt(m: ExecutionEnvironment): void {
  requireCpl0(m.state);
  m.halt();
}

export function pause(m: ExecutionEnvironment): void {
  m.pause();
}

export function writeBackCaches(mnemonic: "invd" | "wbinvd") {
  return (m: ExecutionEnvironment): void => {
    requireCpl0(m.state);
    m.writeBackCaches(mnemonic);
  };
}

/** MONITOR: its address is rAX through DS or the segment of an override, and is subject to what a load of a byte meets. */
export function monitor(m: ExecutionEnvironment, i: DecodedInstruction): void {
  if (cpl(m.state) > 0) undefinedOpcode();
  m.precheck("monitor", i);
  if ((m.state.gpr(GPR.RCX) & 0xffffffffn) !== 0n) generalProtection();
  const offset = m.state.gpr(GPR.RAX) & maskOf(i.addressSize);
  const segment = i.memory?.segment ?? SEGMENT.DS;
  const linear = linearAddress(m, segment, offset, 1, false);
  m.load(linear, 1, readAccess(segment));
  m.monitor(linear);
}

export function mwait(m: ExecutionEnvironment, i: DecodedInstruction): void {
  if (cpl(m.state) > 0) undefinedOpcode();
  m.precheck("mwait", i);
  // The one extension is bit 0: an interrupt ends the wait even if interrupts are masked.
  if (low32(m, GPR.RCX) > 1) generalProtection();
  m.mwait(low32(m, GPR.RAX), low32(m, GPR.RCX));
}

function requireXsave(m: ExecutionEnvironment): void {
  if ((cr4(m.state) & CR4.OSXSAVE) === 0n) undefinedOpcode();
}

export function xgetbv(m: ExecutionEnvironment): void {
  requireXsave(m);
  setPair(m, readExtendedControl(m, low32(m, GPR.RCX)));
}

export function xsetbv(m: ExecutionEnvironment): void {
  requireXsave(m);
  requireCpl0(m.state);
  m.writeXcr(low32(m, GPR.RCX), pair(m));
}

const ARITHMETIC = RFLAGS.CF | RFLAGS.PF | RFLAGS.AF | RFLAGS.ZF | RFLAGS.SF | RFLAGS.OF;

/** RDRAND and RDSEED: the number is always there, CF says so. */
export function random(kind: "rdrand" | "rdseed") {
  return (m: ExecutionEnvironment, i: DecodedInstruction): void => {
    const operand = operandOf(i, 0);
    const register = operand.kind === "register" ? generalRegister(operand.register) : undefined;
    const size = register === undefined || register.size === 1 ? 4 : register.size;
    writeOperand(m, operand, size, m.random(kind, size, register?.index ?? 0) & maskOf(size));
    setFlags(m, RFLAGS.CF, ARITHMETIC);
  };
}

function requirePke(m: ExecutionEnvironment): void {
  if ((cr4(m.state) & CR4.PKE) === 0n) undefinedOpcode();
  if (low32(m, GPR.RCX) !== 0) generalProtection();
}

export function rdpkru(m: ExecutionEnvironment): void {
  requirePke(m);
  setPair(m, BigInt(m.state.get32(SLOT.pkru)));
}

export function wrpkru(m: ExecutionEnvironment): void {
  requirePke(m);
  if (low32(m, GPR.RDX) !== 0) generalProtection();
  m.state.set32(SLOT.pkru, low32(m, GPR.RAX));
  m.modeChanged();
}
