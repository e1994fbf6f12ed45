import { PAGE_FAULT } from "@tapvisor/x86-isa";
import { emulateInstruction } from "../emulate/instruction.js";
import { gfnOf } from "../memory/slots.js";
import type { VcpuState } from "../state/vcpu-state.js";
import { tdpFault, tdpKindOf } from "./tdp.js";

/** kvm_mmu_page_fault on a second-stage violation: true = stay in the run loop. */
export function mmuPageFault(vcpu: VcpuState, guestPhysical: number, errorCode: number): boolean {
  const outcome = tdpFault(vcpu, gfnOf(guestPhysical), (errorCode & PAGE_FAULT.W) !== 0);
  if (outcome === "retry") return true;
  return emulateInstruction(vcpu) === "done";
}

/** handle_mmio_page_fault on a misconfigured entry. */
export function handleMmioPageFault(vcpu: VcpuState, guestPhysical: number): "emulate" | "retry" | "invalid" {
  switch (tdpKindOf(vcpu.vm, gfnOf(guestPhysical))) {
    case "mmio":
      return "emulate";
    case "absent":
      return "retry";
    case "memory":
      return "invalid";
  }
}
