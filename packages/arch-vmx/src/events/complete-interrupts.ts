import { REQUEST, type Vcpu } from "@tapvisor/kvm-core/contract";
import { INTR_INFO, INTR_INFO_TYPE_SHIFT, INTR_TYPE } from "@tapvisor/x86-isa";
import { toVmx } from "../vcpu-vmx.js";

/**
 * Take the event whose delivery an exit interrupted, or which was written for an entry that did not happen, back into
 * the queues of the core, which injects it again (SDM vol. 3, "Information for VM Exits That Occur During Event Delivery").
 *
 * @param info IDT-vectoring information, or the VM-entry interruption information
 * @param lengthField where the length of the instruction behind a software event is
 * @param errorCodeField where the error code is
 */
export function completeInterrupts(vcpu: Vcpu, info: number, lengthField: number, errorCodeField: number): void {
  const { kvm, ops, vmcs } = toVmx(vcpu);
  const { arch } = vcpu;
  arch.nmiInjected = false;
  kvm.clearExceptionQueue(vcpu);
  kvm.clearInterruptQueue(vcpu);
  if ((info & INTR_INFO.VALID) === 0) return;
  kvm.makeRequest(vcpu, REQUEST.EVENT);

  const vector = info & INTR_INFO.VECTOR;
  const type = (info & INTR_INFO.TYPE) >> INTR_INFO_TYPE_SHIFT;
  switch (type) {
    case INTR_TYPE.NMI_INTR:
      arch.nmiInjected = true;
      // The delivery did not complete, so the NMI does not block yet.
      ops.set_nmi_mask(vcpu, false);
      break;
    case INTR_TYPE.SOFT_EXCEPTION:
    case INTR_TYPE.PRIV_SW_EXCEPTION:
    case INTR_TYPE.HARD_EXCEPTION:
      if (type !== INTR_TYPE.HARD_EXCEPTION) arch.eventExitInstLen = vmcs.read32(lengthField);
      if ((info & INTR_INFO.DELIVER_CODE) !== 0) kvm.requeueExceptionE(vcpu, vector, vmcs.read32(errorCodeField));
      else kvm.requeueException(vcpu, vector);
      break;
    case INTR_TYPE.SOFT_INTR:
    case INTR_TYPE.EXT_INTR:
      if (type === INTR_TYPE.SOFT_INTR) arch.eventExitInstLen = vmcs.read32(lengthField);
      kvm.queueInterrupt(vcpu, vector, type === INTR_TYPE.SOFT_INTR);
      break;
    default:
      break;
  }
}
