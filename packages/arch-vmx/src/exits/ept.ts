import type { Vcpu } from "@tapvisor/kvm-core/contract";
import { EPT_VIOLATION, EXIT_REASON, INTERRUPTIBILITY, INTR_INFO, PAGE_FAULT, VMCS } from "@tapvisor/x86-isa";
import { toVmx } from "../vcpu-vmx.js";
import { hasVirtualNmis } from "../vmcs/capabilities.js";

const PRESENT = EPT_VIOLATION.READABLE | EPT_VIOLATION.WRITABLE | EPT_VIOLATION.EXECUTABLE;

export function handleEptViolation(vcpu: Vcpu): boolean {
  const { kvm, vmcs, intel, idtVectoringInfo } = toVmx(vcpu);
  const qualification = vmcs.read32(VMCS.EXIT_QUALIFICATION);
  if ((qualification & EPT_VIOLATION.TRANSLATED) !== 0 && (qualification & EPT_VIOLATION.LINEAR_VALID) === 0) {
    vcpu.exit = { reason: "unknown", hardwareExitReason: EXIT_REASON.EPT_VIOLATION };
    return false;
  }
  // An IRET that the violation stopped has unblocked NMIs.
  if (
    (qualification & EPT_VIOLATION.NMI_UNBLOCKING) !== 0 &&
    (idtVectoringInfo & INTR_INFO.VALID) === 0 &&
    hasVirtualNmis(intel.config)
  )
    vmcs.setBits(VMCS.GUEST_INTERRUPTIBILITY_INFO, INTERRUPTIBILITY.NMI);

  // The MMU takes an error code like a page fault's, in which a read is one of user mode.
  const errorCode =
    ((qualification & EPT_VIOLATION.READ) !== 0 ? PAGE_FAULT.U : 0) |
    ((qualification & EPT_VIOLATION.WRITE) !== 0 ? PAGE_FAULT.W : 0) |
    ((qualification & EPT_VIOLATION.FETCH) !== 0 ? PAGE_FAULT.I : 0) |
    ((qualification & PRESENT) !== 0 ? PAGE_FAULT.P : 0);
  return kvm.mmuPageFault(vcpu, vmcs.readNumber(VMCS.GUEST_PHYSICAL_ADDRESS), errorCode);
}

/** The MMU marks pages without RAM so that the processor finds them misconfigured: it is MMIO. */
export function handleEptMisconfig(vcpu: Vcpu): boolean {
  const { kvm, vmcs } = toVmx(vcpu);
  const guestPhysical = vmcs.readNumber(VMCS.GUEST_PHYSICAL_ADDRESS);
  switch (kvm.handleMmioPageFault(vcpu, guestPhysical)) {
    case "emulate":
      return kvm.emulateInstruction(vcpu) === "done";
    case "invalid":
      return kvm.mmuPageFault(vcpu, guestPhysical, 0);
    case "retry":
      return true;
  }
}
