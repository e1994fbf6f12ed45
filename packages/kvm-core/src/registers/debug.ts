import {
  CPUID,
  CR4,
  DR6_FIXED_1,
  DR6_VOLATILE,
  DR7_FIXED_1,
  DR7_VOLATILE,
  VECTOR,
  DR6,
  DR7_ENABLES,
} from "@tapvisor/x86-isa";
import { DEBUGREG, GUESTDBG } from "../contract/index.js";
import { cpuidHas } from "../cpuid/features.js";
import { injectGp, queueException } from "../events/exceptions.js";
import type { VcpuState } from "../state/vcpu-state.js";
import { readCr4 } from "./control.js";

const HIGH_WORD = 0xffffffff_00000000n;

const debuggerOwnsBreakpoints = (vcpu: VcpuState): boolean => (vcpu.arch.guestDebug & GUESTDBG.USE_HW_BP) !== 0;

export function updateDr0123(vcpu: VcpuState): void {
  if (debuggerOwnsBreakpoints(vcpu)) return;
  vcpu.arch.effDb.set(vcpu.arch.db);
  vcpu.arch.switchDbRegs |= DEBUGREG.RELOAD;
}

export function updateDr6(vcpu: VcpuState): void {
  if (!debuggerOwnsBreakpoints(vcpu)) vcpu.kvm.ops.set_dr6(vcpu, vcpu.arch.dr6);
}

export function updateDr7(vcpu: VcpuState): void {
  const { arch } = vcpu;
  const dr7 = debuggerOwnsBreakpoints(vcpu) ? arch.guestDebugDr7 : arch.dr7;
  vcpu.kvm.ops.set_dr7(vcpu, dr7);
  if ((dr7 & DR7_ENABLES) !== 0n) arch.switchDbRegs |= DEBUGREG.BP_ENABLED;
  else arch.switchDbRegs &= ~DEBUGREG.BP_ENABLED;
}

/** Bits of DR6 that read as 1: RTM as long as the guest has no RTM. */
function dr6Fixed(vcpu: VcpuState): bigint {
  return cpuidHas(vcpu, CPUID.RTM) ? DR6_FIXED_1 & ~DR6.RTM : DR6_FIXED_1;
}

/** __kvm_set_dr: true = refused. 4 and 5 are 6 and 7 under their old names. */
export function setDrOnly(vcpu: VcpuState, dr: number, value: bigint): boolean {
  const { arch } = vcpu;
  if (dr < 4) {
    arch.db[dr] = value;
    if (!debuggerOwnsBreakpoints(vcpu)) arch.effDb[dr] = value;
    return false;
  }
  if ((value & HIGH_WORD) !== 0n) return true;
  if (dr === 4 || dr === 6) {
    arch.dr6 = (value & DR6_VOLATILE) | dr6Fixed(vcpu);
    updateDr6(vcpu);
  } else {
    arch.dr7 = (value & DR7_VOLATILE) | DR7_FIXED_1;
    updateDr7(vcpu);
  }
  return false;
}

/** kvm_set_dr: true = refused, and #GP(0) is queued. */
export function setDr(vcpu: VcpuState, dr: number, value: bigint): boolean {
  const refused = setDrOnly(vcpu, dr, value);
  if (refused) injectGp(vcpu, 0);
  return refused;
}

export function getDr(vcpu: VcpuState, dr: number): bigint {
  const { arch } = vcpu;
  const breakpoint = arch.db[dr];
  if (breakpoint !== undefined) return breakpoint;
  if (dr === 4 || dr === 6) return debuggerOwnsBreakpoints(vcpu) ? arch.dr6 : vcpu.kvm.ops.get_dr6(vcpu);
  return arch.dr7;
}

/** kvm_require_dr: DR4 and DR5 are #UD with CR4.DE. */
export function requireDr(vcpu: VcpuState, dr: number): boolean {
  if ((dr !== 4 && dr !== 5) || readCr4(vcpu, CR4.DE) === 0n) return true;
  queueException(vcpu, VECTOR.UD);
  return false;
}
