import type { DecodedInstruction } from "../decode/instruction.js";
import type { ExecutionEnvironment } from "../environment.js";
import { INTR_TYPE } from "../tables/events.js";
import { CR4, RFLAGS } from "../tables/registers.js";
import { VECTOR } from "../tables/vectors.js";
import { isRedirected, redirectVirtual8086 } from "./delivery.js";
import type { InterruptEvent } from "./event.js";
import { SLOT, cr4, generalProtection, iopl, isProtected, isVirtual8086 } from "./mode.js";
import { operandOf, readOperand } from "./operands.js";
import { trapByFinalFlags } from "./single-step.js";

/** INT n. Virtual-8086 mode below IOPL 3 reaches the monitor through #GP, unless the redirection bitmap spares it. */
export function intN(m: ExecutionEnvironment, i: DecodedInstruction): void {
  const s = m.state;
  const event: InterruptEvent = {
    vector: Number(readOperand(m, operandOf(i, 0), 1)),
    type: INTR_TYPE.SOFT_INTR,
    returnRip: s.get64(SLOT.nextRip),
  };
  if (isProtected(s) && isVirtual8086(s)) {
    if ((cr4(s) & CR4.VME) !== 0n && isRedirected(m, event.vector)) {
      redirectVirtual8086(m, event);
      return;
    }
    if (iopl(s) < 3) generalProtection();
  }
  m.softwareInterrupt(event);
}

export function int3(m: ExecutionEnvironment): void {
  m.softwareInterrupt({
    vector: VECTOR.BP,
    type: INTR_TYPE.SOFT_EXCEPTION,
    returnRip: m.state.get64(SLOT.nextRip),
  });
}

export function into(m: ExecutionEnvironment): void {
  if ((m.state.rflags & RFLAGS.OF) === 0n) {
    trapByFinalFlags(m);
    return;
  }
  m.softwareInterrupt({
    vector: VECTOR.OF,
    type: INTR_TYPE.SOFT_EXCEPTION,
    returnRip: m.state.get64(SLOT.nextRip),
  });
}

/** INT1 (ICEBP): a #DB that leaves DR6 alone and does not ask the gate's DPL. */
export function int1(m: ExecutionEnvironment): void {
  m.softwareInterrupt({
    vector: VECTOR.DB,
    type: INTR_TYPE.PRIV_SW_EXCEPTION,
    returnRip: m.state.get64(SLOT.nextRip),
  });
}
