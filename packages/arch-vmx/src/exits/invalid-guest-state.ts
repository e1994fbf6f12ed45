import { REQUEST, type Vcpu } from "@tapvisor/kvm-core/contract";
import { CPU_BASED, VMCS } from "@tapvisor/x86-isa";
import { toVmx } from "../vcpu-vmx.js";
import { handleInterruptWindow } from "./windows.js";

/** Instructions that are emulated before the run loop looks around again. */
const BATCH = 130;

/** Emulate instruction by instruction until the processor would enter the guest. */
export function handleInvalidGuestState(vcpu: Vcpu): boolean {
  const vmx = toVmx(vcpu);
  const { kvm, ops, vmcs } = vmx;
  const windowWanted = (vmcs.read32(VMCS.CPU_BASED_VM_EXEC_CONTROL) & CPU_BASED.INTERRUPT_WINDOW_EXITING) !== 0;
  for (let i = 0; i < BATCH && vmx.emulationRequired; i++) {
    if (windowWanted && ops.interrupt_allowed(vcpu)) return handleInterruptWindow(vcpu);
    if ((vcpu.arch.requests & (1 << REQUEST.EVENT)) !== 0) return true;
    // No processor counts it, and virtual time has to go on: the loop may have no other end than its budget.
    vmx.intel.host.clock.charge(1);
    switch (kvm.emulateInstruction(vcpu)) {
      case "done":
        break;
      case "user_exit":
        return false;
      case "fail":
        vcpu.exit = { reason: "internal_error", suberror: "emulation", data: [] };
        return false;
    }
    if (vcpu.arch.mpState === "halted") return true;
  }
  return true;
}
