import type { DecodedInstruction } from "../decode/instruction.js";
import type { ExecutionEnvironment } from "../environment.js";
import { INTERRUPTIBILITY } from "../tables/events.js";
import { CR4, RFLAGS } from "../tables/registers.js";
import { peek, setStackPointer, stackPointer, StackWriter } from "./memory.js";
import {
  SLOT,
  cpl,
  cr4,
  generalProtection,
  iopl,
  isProtected,
  isVirtual8086,
  setFlags,
  undefinedOpcode,
} from "./mode.js";

/** Which flag CLI and STI change here: IF, the virtual VIF, or none at all (#GP). */
function interruptFlag(m: ExecutionEnvironment): "IF" | "VIF" {
  const s = m.state;
  if (!isProtected(s) || iopl(s) >= cpl(s)) return "IF";
  if (isVirtual8086(s) ? (cr4(s) & CR4.VME) !== 0n : cpl(s) === 3 && (cr4(s) & CR4.PVI) !== 0n) return "VIF";
  return generalProtection();
}

export function cli(m: ExecutionEnvironment): void {
  setFlags(m, 0n, RFLAGS[interruptFlag(m)]);
}

export function sti(m: ExecutionEnvironment): void {
  const s = m.state;
  const flag = interruptFlag(m);
  if (flag === "VIF") {
    if ((s.rflags & RFLAGS.VIP) !== 0n) generalProtection();
    setFlags(m, RFLAGS.VIF, RFLAGS.VIF);
    return;
  }
  // Interrupts stay off for one more instruction if they were off.
  if ((s.get64(SLOT.flagsRest) & RFLAGS.IF) === 0n) {
    s.set32(SLOT.interruptibility, s.get32(SLOT.interruptibility) | INTERRUPTIBILITY.STI);
  }
  setFlags(m, RFLAGS.IF, RFLAGS.IF);
}

type Size = 2 | 4 | 8;
const sizeOf = (i: DecodedInstruction): Size => (i.operandSize === 0 ? 2 : i.operandSize);

/** In virtual-8086 mode below IOPL 3 PUSHF and POPF trap to the monitor, except the 16-bit forms with CR4.VME. */
function virtualFlags(m: ExecutionEnvironment, size: Size): boolean {
  const s = m.state;
  if (!isProtected(s) || !isVirtual8086(s) || iopl(s) === 3) return false;
  if ((cr4(s) & CR4.VME) === 0n || size !== 2) generalProtection();
  return true;
}

/** PUSHF, PUSHFD, PUSHFQ. */
export function pushf(m: ExecutionEnvironment, i: DecodedInstruction): void {
  const size = sizeOf(i);
  let image = m.state.rflags & ~(RFLAGS.VM | RFLAGS.RF);
  if (virtualFlags(m, size)) {
    const enabled = (image & RFLAGS.VIF) !== 0n ? RFLAGS.IF : 0n;
    image = (image & ~RFLAGS.IF) | enabled | RFLAGS.IOPL;
  }
  const writer = StackWriter.current(m);
  writer.push(size, image);
  writer.commit();
  setStackPointer(m, writer.pointer);
}

const ALWAYS =
  RFLAGS.CF | RFLAGS.PF | RFLAGS.AF | RFLAGS.ZF | RFLAGS.SF | RFLAGS.TF | RFLAGS.DF | RFLAGS.OF | RFLAGS.NT;

/** POPF, POPFD, POPFQ (SDM vol. 2, "POPF", effect of the instruction on EFLAGS). */
export function popf(m: ExecutionEnvironment, i: DecodedInstruction): void {
  const s = m.state;
  const size = sizeOf(i);
  const virtual = virtualFlags(m, size);
  let image = peek(m, 0, size);
  let mask: bigint = ALWAYS;
  if (size !== 2) mask |= RFLAGS.AC | RFLAGS.ID;
  if (virtual) {
    const enable = (image & RFLAGS.IF) !== 0n;
    if ((enable && (s.rflags & RFLAGS.VIP) !== 0n) || (image & RFLAGS.TF) !== 0n) generalProtection();
    image = enable ? image | RFLAGS.VIF : image & ~RFLAGS.VIF;
    mask |= RFLAGS.VIF;
  } else {
    const level = cpl(s);
    if (level === 0) mask |= RFLAGS.IOPL;
    if (level <= iopl(s)) mask |= RFLAGS.IF;
  }
  setStackPointer(m, stackPointer(m) + BigInt(size));
  setFlags(m, image & ~RFLAGS.RF, size === 2 ? mask : mask | RFLAGS.RF);
}

/** CLAC and STAC: CPL 0 only. */
export function setAlignmentCheck(value: boolean) {
  return (m: ExecutionEnvironment): void => {
    if (cpl(m.state) > 0) undefinedOpcode();
    setFlags(m, value ? RFLAGS.AC : 0n, RFLAGS.AC);
  };
}
