import type { OpName } from "@tapvisor/kvm-core";

/** The ops that no code calls yet, each with the capability that will call it, as Linux 4.9 does. */
export const UNCALLED_OPS: { readonly [N in OpName]?: string } = {
  set_cr3: "shadow paging: the root of a shadow page table",
  refresh_apicv_exec_ctrl: "APIC virtualization: turned off where a guest activates Hyper-V's SynIC",
  get_exit_info: "tracing of exits: the raw details that the trace event kvm_exit has",
  has_wbinvd_exit: "device assignment with memory that is not coherent: caches are flushed where a vCPU ran",
  check_intercept: "nested virtualization: intercepts of the guest's hypervisor in emulated instructions",
  "pmu_ops.find_arch_event": "PMU events: a general counter is programmed",
  "pmu_ops.find_fixed_event": "PMU events: a fixed counter is programmed",
  "pmu_ops.pmc_is_enabled": "PMU events: the global control register",
  "pmu_ops.pmc_idx_to_pmc": "PMU events: overflow, and counters that are programmed anew",
  update_pi_irte: "APIC virtualization: posted interrupts of assigned devices",
};
