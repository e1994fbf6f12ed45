import type { Vcpu } from "@tapvisor/kvm-core/contract";
import { INTR_INFO, INTR_INFO_TYPE_SHIFT, INTR_TYPE, TASK_SWITCH_SOURCE, VMCS } from "@tapvisor/x86-isa";
import { toVmx } from "../vcpu-vmx.js";

/** Exit qualification (SDM vol. 3, "Exit Qualification for Task Switches"). */
const SOURCE_SHIFT = 30;

export function handleTaskSwitch(vcpu: Vcpu): boolean {
  const { kvm, ops, vmcs, idtVectoringInfo } = toVmx(vcpu);
  const qualification = vmcs.read32(VMCS.EXIT_QUALIFICATION);
  const source = qualification >>> SOURCE_SHIFT;
  const vectoring = (idtVectoringInfo & INTR_INFO.VALID) !== 0;
  const type = (idtVectoringInfo & INTR_INFO.TYPE) >> INTR_INFO_TYPE_SHIFT;
  let errorCode: number | undefined;
  if (source === TASK_SWITCH_SOURCE.GATE && vectoring) {
    // The switch delivers the event, so it must not be injected again.
    switch (type) {
      case INTR_TYPE.NMI_INTR:
        vcpu.arch.nmiInjected = false;
        ops.set_nmi_mask(vcpu, true);
        break;
      case INTR_TYPE.EXT_INTR:
      case INTR_TYPE.SOFT_INTR:
        kvm.clearInterruptQueue(vcpu);
        break;
      case INTR_TYPE.HARD_EXCEPTION:
      case INTR_TYPE.SOFT_EXCEPTION:
      case INTR_TYPE.PRIV_SW_EXCEPTION:
        if (type === INTR_TYPE.HARD_EXCEPTION && (idtVectoringInfo & INTR_INFO.DELIVER_CODE) !== 0)
          errorCode = vmcs.read32(VMCS.IDT_VECTORING_ERROR_CODE);
        kvm.clearExceptionQueue(vcpu);
        break;
      default:
        break;
    }
  }
  // The return address of the old task is behind the instruction, but where the event is not an instruction's.
  const byEvent =
    vectoring && (type === INTR_TYPE.HARD_EXCEPTION || type === INTR_TYPE.EXT_INTR || type === INTR_TYPE.NMI_INTR);
  if (!byEvent) ops.skip_emulated_instruction(vcpu);
  const idtIndex = vectoring && type === INTR_TYPE.SOFT_INTR ? idtVectoringInfo & INTR_INFO.VECTOR : -1;
  if (kvm.taskSwitch(vcpu, qualification & 0xffff, idtIndex, source, errorCode) !== "fail") return true;
  vcpu.exit = { reason: "internal_error", suberror: "emulation", data: [] };
  return false;
}
