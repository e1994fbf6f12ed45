import { DR6, DR6_FIXED_1, type TaskSwitchOutcome, VECTOR, DR6_BREAKPOINTS } from "@tapvisor/x86-isa";
import { queueException, queueGuestException } from "../events/exceptions.js";
import type { VcpuState } from "../state/vcpu-state.js";

/** Queue what a new task meets before its first instruction. The state of the switch is stored already. */
export function enterTask(vcpu: VcpuState, { fault, debugTrap }: TaskSwitchOutcome): void {
  if (fault !== undefined) {
    queueGuestException(vcpu, fault);
    return;
  }
  if (!debugTrap) return;
  const { arch } = vcpu;
  arch.dr6 = (arch.dr6 & ~DR6_BREAKPOINTS) | DR6.BT | DR6_FIXED_1;
  queueException(vcpu, VECTOR.DB);
}
