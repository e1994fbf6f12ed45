import { op, optional, ret0 } from "../op.js";
import type { Vm } from "../vm.js";

export const VM_OPS = {
  set_tss_addr: op<(vm: Vm, address: number) => void>()({
    args: ["vm", "address"],
    context: "vm-ioctl",
    hot: false,
    result: "void",
    throws: ["EINVAL", "EEXIST", "ENOMEM", "EFAULT"],
    summary:
      "Serve KVM_SET_TSS_ADDR: back three guest pages at address with a private slot and build the task-state segment that real mode by way of virtual-8086 mode needs.",
  }),
  vm_init: ret0<(vm: Vm) => void>()({
    args: ["vm"],
    context: "vm-ioctl",
    hot: false,
    result: "void",
    throws: ["ENOMEM"],
    summary: "Make the backend's part of a new VM. Only SVM has it in 4.9.",
  }),
  vm_destroy: optional<(vm: Vm) => void>()({
    args: ["vm"],
    context: "vm-ioctl",
    hot: false,
    result: "void",
    summary: "Free the backend's part of a VM. Only SVM has it in 4.9.",
  }),
};
