import type { Vcpu } from "@tapvisor/kvm-core/contract";
import { EXIT_REASON, EXIT_REASON_ENTRY_FAILURE, INTR_INFO, VECTOR, VMCS } from "@tapvisor/x86-isa";
import { toVmx, type VcpuVmx } from "../vcpu-vmx.js";
import { hasVirtualNmis } from "../vmcs/capabilities.js";
import { dumpVmcs } from "../vmcs/dump.js";
import { EXIT_HANDLERS } from "./handlers.js";
import { handleInvalidGuestState } from "./invalid-guest-state.js";

/** How long an NMI may stay blocked in software before it is delivered all the same, in ns. */
const NMI_BLOCK_LIMIT = 1_000_000_000;

/** Act on the exit that `run` collected. True: enter the guest again. False: back to user space, with `vcpu.exit` set. */
export function handleExit(vcpu: Vcpu): boolean {
  const vmx = toVmx(vcpu);
  if (vmx.emulationRequired) return handleInvalidGuestState(vcpu);
  if (vmx.fail) {
    vcpu.exit = {
      reason: "fail_entry",
      hardwareEntryFailureReason: vmx.vmcs.read32(VMCS.VM_INSTRUCTION_ERROR),
      dump: dumpVmcs(vmx),
    };
    return false;
  }
  const reason = vmx.exitReason;
  if ((reason & EXIT_REASON_ENTRY_FAILURE) !== 0) {
    vcpu.exit = { reason: "fail_entry", hardwareEntryFailureReason: reason, dump: dumpVmcs(vmx) };
    return false;
  }
  if ((vmx.idtVectoringInfo & INTR_INFO.VALID) !== 0 && !mayInterruptDelivery(reason)) {
    // The guest's IDT, stack or TSS is where no RAM is: entered again, it would exit the same way for ever.
    vcpu.exit = {
      reason: "internal_error",
      suberror: "delivery_ev",
      data: [BigInt(vmx.idtVectoringInfo), BigInt(reason)],
    };
    return false;
  }
  if (vmx.softVnmiBlocked && !hasVirtualNmis(vmx.intel.config)) unblockNmis(vcpu, vmx);

  const handler = EXIT_HANDLERS[reason];
  if (handler !== undefined) return handler(vcpu);
  // An exit that was not asked for: to the guest the instruction does not exist.
  vmx.kvm.queueException(vcpu, VECTOR.UD);
  return true;
}

function mayInterruptDelivery(reason: number): boolean {
  return (
    reason === EXIT_REASON.EXCEPTION_NMI ||
    reason === EXIT_REASON.EPT_VIOLATION ||
    reason === EXIT_REASON.PML_FULL ||
    reason === EXIT_REASON.TASK_SWITCH
  );
}

/** Without virtual NMIs: the guest has turned interrupts on, or has been in its handler for too long. */
function unblockNmis(vcpu: Vcpu, vmx: VcpuVmx): void {
  const overdue = vmx.vnmiBlockedTime > NMI_BLOCK_LIMIT && vcpu.arch.nmiPending !== 0;
  if (overdue || vmx.ops.interrupt_allowed(vcpu)) vmx.softVnmiBlocked = false;
}
