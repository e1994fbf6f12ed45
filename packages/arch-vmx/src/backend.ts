import { defineArchBackend } from "@tapvisor/kvm-core/contract";
import { KvmIntel } from "./kvm-intel.js";
import type { VmxProcessor } from "./processor.js";
import { vmxX86Ops } from "./vmx-ops.js";

/** The backend for Intel VT-x: what kvm-intel.ko is to kvm.ko. */
export const vmxBackend = defineArchBackend<VmxProcessor>({
  name: "vmx",
  vendor: "GenuineIntel",
  notImplemented: [
    "slot_enable_log_dirty",
    "slot_disable_log_dirty",
    "flush_log_dirty",
    "enable_log_dirty_pt_masked",
    "refresh_apicv_exec_ctrl",
    "load_eoi_exitmap",
    "hwapic_irr_update",
    "hwapic_isr_update",
    "sync_pir_to_irr",
    "deliver_posted_interrupt",
    "update_pi_irte",
    "pmu_ops.find_arch_event",
    "pmu_ops.pmc_is_enabled",
    "pmu_ops.get_msr",
    "pmu_ops.set_msr",
  ],
  create({ host, kvm, ops }) {
    return { ops: vmxX86Ops(new KvmIntel(host, kvm, ops)) };
  },
});
