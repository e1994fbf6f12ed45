import { op, optional } from "../op.js";
import type { Vcpu, Vm } from "../vm.js";

export const INTERRUPT_CONTROLLER_OPS = {
  update_cr8_intercept: optional<(vcpu: Vcpu, tpr: number, irr: number) => void>()({
    args: ["vcpu", "tpr", "irr"],
    context: "before-entry",
    hot: true,
    result: "void",
    summary:
      "Follow the class of the guest's task priority and of the highest pending interrupt (-1: none), so that the guest exits when the first drops below the second. Absent without a TPR shadow.",
  }),
  set_virtual_x2apic_mode: op<(vcpu: Vcpu, set: boolean) => void>()({
    args: ["vcpu", "set"],
    context: "vcpu-loaded",
    hot: false,
    result: "void",
    summary: "Follow the guest's change between memory-mapped APIC and x2APIC.",
  }),
  set_apic_access_page_addr: optional<(vcpu: Vcpu, address: number) => void>()({
    args: ["vcpu", "address"],
    context: "before-entry",
    hot: false,
    result: "void",
    summary: "Follow the host page behind the APIC-access page. Absent where accesses are not virtualized.",
  }),
  get_enable_apicv: op<() => boolean>()({
    args: [],
    context: "vm-ioctl",
    hot: false,
    result: "boolean",
    returns: "enabled: new vCPUs start with their APIC virtualized by hardware",
    summary: "Ask whether interrupt delivery is virtualized.",
  }),
  refresh_apicv_exec_ctrl: op<(vcpu: Vcpu) => void>()({
    args: ["vcpu"],
    context: "vcpu-ioctl",
    hot: false,
    result: "void",
    summary: "Reprogram the controls after vcpu.arch.apicvActive changed.",
  }),
  load_eoi_exitmap: op<(vcpu: Vcpu, bitmap: BigUint64Array) => void>()({
    args: ["vcpu", "bitmap"],
    context: "before-entry",
    hot: false,
    result: "void",
    summary: "Load the map of the 256 vectors whose end of interrupt must exit; four words.",
  }),
  hwapic_irr_update: op<(vcpu: Vcpu, maxIrr: number) => void>()({
    args: ["vcpu", "maxIrr"],
    context: "before-entry",
    hot: true,
    result: "void",
    summary: "Tell hardware the highest requested vector, or -1.",
  }),
  hwapic_isr_update: op<(vcpu: Vcpu, isr: number) => void>()({
    args: ["vcpu", "isr"],
    context: "vcpu-loaded",
    hot: false,
    result: "void",
    summary: "Tell hardware the highest vector in service, or -1.",
  }),
  sync_pir_to_irr: op<(vcpu: Vcpu) => void>()({
    args: ["vcpu"],
    context: "vcpu-loaded",
    hot: true,
    result: "void",
    summary: "Move posted interrupt requests into the request register of the virtual APIC.",
  }),
  deliver_posted_interrupt: op<(vcpu: Vcpu, vector: number) => void>()({
    args: ["vcpu", "vector"],
    context: "any",
    hot: true,
    result: "void",
    summary: "Post a vector to a vCPU, running or not, and notify the processor that it runs on.",
  }),
  update_pi_irte: optional<(vm: Vm, hostIrq: number, guestIrq: number, set: boolean) => void>()({
    args: ["vm", "hostIrq", "guestIrq", "set"],
    context: "vm-ioctl",
    hot: false,
    result: "void",
    throws: ["EINVAL", "ENOMEM"],
    summary: "Let interrupt remapping post the interrupts of a passed-through device to its vCPU, or stop that.",
  }),
  apicv_post_state_restore: optional<(vcpu: Vcpu) => void>()({
    args: ["vcpu"],
    context: "vcpu-ioctl",
    hot: false,
    result: "void",
    summary:
      "Follow an APIC state that user space restored while hardware virtualizes the APIC. Only SVM has it in 4.9.",
  }),
};
