import {
  DR6,
  DR6_FIXED_1,
  INTERRUPTIBILITY,
  RFLAGS,
  VECTOR,
  trapsByFinalFlags,
  DR7_ENABLES,
  DR6_BREAKPOINTS,
} from "@tapvisor/x86-isa";
import { GUESTDBG, INTERRUPT_SHADOW, REQUEST } from "../contract/index.js";
import { queueException } from "../events/exceptions.js";
import { getRflags, linearRip } from "../registers/flags.js";
import { makeRequest } from "../requests.js";
import type { VcpuState } from "../state/vcpu-state.js";

/** R/W and LEN of breakpoint 0: four bits, 0 for the execution of an instruction. */
const KIND_SHIFT = 16;
const KIND_BITS = 4;
const TF = Number(RFLAGS.TF);

/** kvm_vcpu_check_hw_bp for instructions: B0 to B3 of DR6. */
function breakpointsAt(linear: bigint, dr7: bigint, addresses: BigUint64Array): bigint {
  let hit = 0n;
  const control = Number(dr7);
  addresses.forEach((address, i) => {
    const on = ((control >>> (2 * i)) & 3) !== 0 && ((control >>> (KIND_SHIFT + KIND_BITS * i)) & 0xf) === 0;
    if (on && i < 4 && address === linear) hit |= 1n << BigInt(i);
  });
  return hit;
}

/**
 * kvm_vcpu_check_breakpoint: what happens in place of the instruction at RIP that has a breakpoint. The guest's own are
 * off with RF, and in the shadow of MOV SS.
 */
export function atBreakpoint(vcpu: VcpuState): "debugger" | "guest" | undefined {
  const { arch } = vcpu;
  if ((arch.guestDebug & GUESTDBG.USE_HW_BP) !== 0 && (arch.guestDebugDr7 & DR7_ENABLES) !== 0n) {
    const pc = linearRip(vcpu);
    const hit = breakpointsAt(pc, arch.guestDebugDr7, arch.effDb);
    if (hit !== 0n) {
      vcpu.exit = { reason: "debug", exception: VECTOR.DB, pc, dr6: hit | DR6_FIXED_1, dr7: arch.guestDebugDr7 };
      return "debugger";
    }
  }
  if ((arch.dr7 & DR7_ENABLES) === 0n || (getRflags(vcpu) & RFLAGS.RF) !== 0n) return undefined;
  if ((vcpu.kvm.ops.get_interrupt_shadow(vcpu) & INTERRUPT_SHADOW.MOV_SS) !== 0) return undefined;
  const hit = breakpointsAt(linearRip(vcpu), arch.dr7, arch.db);
  if (hit === 0n) return undefined;
  arch.dr6 = (arch.dr6 & ~DR6_BREAKPOINTS) | hit | DR6_FIXED_1;
  queueException(vcpu, VECTOR.DB);
  return "guest";
}

/** toggle_interruptibility: the instruction ends an interrupt shadow, unless it has made one. */
export function updateShadow(vcpu: VcpuState, interruptibility: number): void {
  const { ops } = vcpu.kvm;
  let shadow = 0;
  if ((interruptibility & INTERRUPTIBILITY.STI) !== 0) shadow |= INTERRUPT_SHADOW.STI;
  if ((interruptibility & INTERRUPTIBILITY.MOV_SS) !== 0) shadow |= INTERRUPT_SHADOW.MOV_SS;
  const current = ops.get_interrupt_shadow(vcpu);
  if (current === 0 && shadow === 0) return;
  ops.set_interrupt_shadow(vcpu, shadow);
  if (shadow === 0) makeRequest(vcpu, REQUEST.EVENT);
}

/** Whether the instruction ends with a single-step trap, by TF before it and after. */
export function stepsInto(mnemonic: number, before: number, after: number): boolean {
  return ((trapsByFinalFlags(mnemonic) ? after : before) & TF) !== 0;
}

/**
 * kvm_vcpu_check_singlestep: the debugger's trap, or the guest's. False = an exit for the debugger.
 *
 * @param trap the guest steps, see {@link stepsInto}
 */
export function singleStep(vcpu: VcpuState, trap: boolean): boolean {
  const { arch } = vcpu;
  if ((arch.guestDebug & GUESTDBG.SINGLESTEP) !== 0) {
    const dr6 = DR6.BS | DR6_FIXED_1;
    vcpu.exit = { reason: "debug", exception: VECTOR.DB, pc: arch.singlestepRip, dr6, dr7: arch.dr7 };
    return false;
  }
  // The shadow of MOV SS inhibits the trap (SDM vol. 3, "Single-Step Exception Condition").
  if (!trap || (vcpu.kvm.ops.get_interrupt_shadow(vcpu) & INTERRUPT_SHADOW.MOV_SS) !== 0) return true;
  arch.dr6 = (arch.dr6 & ~DR6_BREAKPOINTS) | DR6.BS | DR6_FIXED_1;
  queueException(vcpu, VECTOR.DB);
  return true;
}
