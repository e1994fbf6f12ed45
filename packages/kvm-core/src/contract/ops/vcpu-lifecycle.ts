import { op, optional } from "../op.js";
import type { Vcpu, Vm } from "../vm.js";

export const VCPU_LIFECYCLE_OPS = {
  vcpu_create: op<(vm: Vm, id: number) => Vcpu>()({
    args: ["vm", "id"],
    context: "vm-ioctl",
    hot: false,
    result: "object",
    returns: "the vCPU, made by vcpuInit of the core's exports",
    throws: ["ENOMEM", "ENOSYS", "EINVAL"],
    summary: "Allocate the backend's state of a vCPU and initialize both halves. The VM does not know the vCPU yet.",
  }),
  vcpu_free: op<(vcpu: Vcpu) => void>()({
    args: ["vcpu"],
    context: "vm-ioctl",
    hot: false,
    result: "void",
    summary: "Release all that vcpu_create made.",
  }),
  vcpu_reset: op<(vcpu: Vcpu, initEvent: boolean) => void>()({
    args: ["vcpu", "initEvent"],
    context: "vcpu-loaded",
    hot: false,
    result: "void",
    summary: "Put registers, segments and controls in the state after power-on or, with initEvent, after INIT.",
  }),
  vcpu_load: op<(vcpu: Vcpu, cpu: number) => void>()({
    args: ["vcpu", "cpu"],
    context: "preempt-off",
    hot: false,
    result: "void",
    summary: "Make the vCPU current on processor cpu, fetching its state from the one that it ran on before.",
  }),
  vcpu_put: op<(vcpu: Vcpu) => void>()({
    args: ["vcpu"],
    context: "preempt-off",
    hot: false,
    result: "void",
    summary: "Let the vCPU leave the processor: give the host back what was switched lazily.",
  }),
  sched_in: op<(vcpu: Vcpu, cpu: number) => void>()({
    args: ["vcpu", "cpu"],
    context: "preempt-off",
    hot: false,
    result: "void",
    summary: "Hear that the vCPU's task was scheduled again on processor cpu, just before vcpu_load.",
  }),
  setup_mce: optional<(vcpu: Vcpu) => void>()({
    args: ["vcpu"],
    context: "vcpu-ioctl",
    hot: false,
    result: "void",
    summary: "Follow the machine-check capabilities that KVM_X86_SETUP_MCE stored.",
  }),
};
