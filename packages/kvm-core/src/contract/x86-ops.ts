import { CAPABILITY_OPS } from "./ops/capability.js";
import { DEBUG_OPS } from "./ops/debug.js";
import { DIRTY_LOG_OPS } from "./ops/dirty-log.js";
import { EVENT_INJECTION_OPS } from "./ops/event-injection.js";
import { HALT_BLOCK_OPS } from "./ops/halt-block.js";
import type { EveryDeclaration, OP_GROUPS } from "./ops/index.js";
import { INTERRUPT_CONTROLLER_OPS } from "./ops/interrupt-controller.js";
import { MMU_OPS } from "./ops/mmu.js";
import { MODULE_INIT_OPS } from "./ops/module-init.js";
import { NESTED_OPS } from "./ops/nested.js";
import { PER_CPU_OPS } from "./ops/per-cpu.js";
import { PMU_OPS } from "./ops/pmu.js";
import { POWER_CACHE_OPS } from "./ops/power-cache.js";
import { REGISTER_CONTROL_OPS } from "./ops/register-control.js";
import { REGISTER_FPU_OPS } from "./ops/register-fpu.js";
import { REGISTER_GPR_OPS } from "./ops/register-gpr.js";
import { REGISTER_MSR_OPS } from "./ops/register-msr.js";
import { REGISTER_SEGMENT_OPS } from "./ops/register-segment.js";
import { REGISTER_TABLE_OPS } from "./ops/register-table.js";
import { RUN_LOOP_OPS } from "./ops/run-loop.js";
import { TIME_OPS } from "./ops/time.js";
import { VCPU_LIFECYCLE_OPS } from "./ops/vcpu-lifecycle.js";
import { VM_OPS } from "./ops/vm.js";

/** Every op that a group declares; those of the PMU are in the table of their own that `pmu_ops` is. */
type X86OpsList = EveryDeclaration<Omit<typeof OP_GROUPS, "pmu">> & { readonly pmu_ops: typeof PMU_OPS };

/**
 * The members of `struct kvm_x86_ops` that VT-x sets in Linux 4.9, in the order in which `vmx_x86_ops` sets them; then
 * those that only SVM sets. Everything that has a line or a field per op is derived from this list.
 */
export const X86_OPS = {
  cpu_has_kvm_support: MODULE_INIT_OPS.cpu_has_kvm_support,
  disabled_by_bios: MODULE_INIT_OPS.disabled_by_bios,
  hardware_setup: MODULE_INIT_OPS.hardware_setup,
  hardware_unsetup: MODULE_INIT_OPS.hardware_unsetup,
  check_processor_compatibility: PER_CPU_OPS.check_processor_compatibility,
  hardware_enable: PER_CPU_OPS.hardware_enable,
  hardware_disable: PER_CPU_OPS.hardware_disable,
  cpu_has_accelerated_tpr: CAPABILITY_OPS.cpu_has_accelerated_tpr,
  cpu_has_high_real_mode_segbase: CAPABILITY_OPS.cpu_has_high_real_mode_segbase,
  vcpu_create: VCPU_LIFECYCLE_OPS.vcpu_create,
  vcpu_free: VCPU_LIFECYCLE_OPS.vcpu_free,
  vcpu_reset: VCPU_LIFECYCLE_OPS.vcpu_reset,
  prepare_guest_switch: RUN_LOOP_OPS.prepare_guest_switch,
  vcpu_load: VCPU_LIFECYCLE_OPS.vcpu_load,
  vcpu_put: VCPU_LIFECYCLE_OPS.vcpu_put,
  update_bp_intercept: DEBUG_OPS.update_bp_intercept,
  get_msr: REGISTER_MSR_OPS.get_msr,
  set_msr: REGISTER_MSR_OPS.set_msr,
  get_segment_base: REGISTER_SEGMENT_OPS.get_segment_base,
  get_segment: REGISTER_SEGMENT_OPS.get_segment,
  set_segment: REGISTER_SEGMENT_OPS.set_segment,
  get_cpl: REGISTER_SEGMENT_OPS.get_cpl,
  get_cs_db_l_bits: REGISTER_SEGMENT_OPS.get_cs_db_l_bits,
  decache_cr0_guest_bits: REGISTER_CONTROL_OPS.decache_cr0_guest_bits,
  decache_cr3: REGISTER_CONTROL_OPS.decache_cr3,
  decache_cr4_guest_bits: REGISTER_CONTROL_OPS.decache_cr4_guest_bits,
  set_cr0: REGISTER_CONTROL_OPS.set_cr0,
  set_cr3: REGISTER_CONTROL_OPS.set_cr3,
  set_cr4: REGISTER_CONTROL_OPS.set_cr4,
  set_efer: REGISTER_CONTROL_OPS.set_efer,
  get_idt: REGISTER_TABLE_OPS.get_idt,
  set_idt: REGISTER_TABLE_OPS.set_idt,
  get_gdt: REGISTER_TABLE_OPS.get_gdt,
  set_gdt: REGISTER_TABLE_OPS.set_gdt,
  get_dr6: DEBUG_OPS.get_dr6,
  set_dr6: DEBUG_OPS.set_dr6,
  set_dr7: DEBUG_OPS.set_dr7,
  sync_dirty_debug_regs: DEBUG_OPS.sync_dirty_debug_regs,
  cache_reg: REGISTER_GPR_OPS.cache_reg,
  get_rflags: REGISTER_GPR_OPS.get_rflags,
  set_rflags: REGISTER_GPR_OPS.set_rflags,
  get_pkru: REGISTER_FPU_OPS.get_pkru,
  fpu_activate: REGISTER_FPU_OPS.fpu_activate,
  fpu_deactivate: REGISTER_FPU_OPS.fpu_deactivate,
  tlb_flush: MMU_OPS.tlb_flush,
  run: RUN_LOOP_OPS.run,
  handle_exit: RUN_LOOP_OPS.handle_exit,
  skip_emulated_instruction: RUN_LOOP_OPS.skip_emulated_instruction,
  set_interrupt_shadow: EVENT_INJECTION_OPS.set_interrupt_shadow,
  get_interrupt_shadow: EVENT_INJECTION_OPS.get_interrupt_shadow,
  patch_hypercall: EVENT_INJECTION_OPS.patch_hypercall,
  set_irq: EVENT_INJECTION_OPS.set_irq,
  set_nmi: EVENT_INJECTION_OPS.set_nmi,
  queue_exception: EVENT_INJECTION_OPS.queue_exception,
  cancel_injection: EVENT_INJECTION_OPS.cancel_injection,
  interrupt_allowed: EVENT_INJECTION_OPS.interrupt_allowed,
  nmi_allowed: EVENT_INJECTION_OPS.nmi_allowed,
  get_nmi_mask: EVENT_INJECTION_OPS.get_nmi_mask,
  set_nmi_mask: EVENT_INJECTION_OPS.set_nmi_mask,
  enable_nmi_window: EVENT_INJECTION_OPS.enable_nmi_window,
  enable_irq_window: EVENT_INJECTION_OPS.enable_irq_window,
  update_cr8_intercept: INTERRUPT_CONTROLLER_OPS.update_cr8_intercept,
  set_virtual_x2apic_mode: INTERRUPT_CONTROLLER_OPS.set_virtual_x2apic_mode,
  set_apic_access_page_addr: INTERRUPT_CONTROLLER_OPS.set_apic_access_page_addr,
  get_enable_apicv: INTERRUPT_CONTROLLER_OPS.get_enable_apicv,
  refresh_apicv_exec_ctrl: INTERRUPT_CONTROLLER_OPS.refresh_apicv_exec_ctrl,
  load_eoi_exitmap: INTERRUPT_CONTROLLER_OPS.load_eoi_exitmap,
  hwapic_irr_update: INTERRUPT_CONTROLLER_OPS.hwapic_irr_update,
  hwapic_isr_update: INTERRUPT_CONTROLLER_OPS.hwapic_isr_update,
  sync_pir_to_irr: INTERRUPT_CONTROLLER_OPS.sync_pir_to_irr,
  deliver_posted_interrupt: INTERRUPT_CONTROLLER_OPS.deliver_posted_interrupt,
  set_tss_addr: VM_OPS.set_tss_addr,
  get_tdp_level: MMU_OPS.get_tdp_level,
  get_mt_mask: MMU_OPS.get_mt_mask,
  get_exit_info: RUN_LOOP_OPS.get_exit_info,
  get_lpage_level: MMU_OPS.get_lpage_level,
  cpuid_update: CAPABILITY_OPS.cpuid_update,
  rdtscp_supported: CAPABILITY_OPS.rdtscp_supported,
  invpcid_supported: CAPABILITY_OPS.invpcid_supported,
  set_supported_cpuid: CAPABILITY_OPS.set_supported_cpuid,
  has_wbinvd_exit: POWER_CACHE_OPS.has_wbinvd_exit,
  write_tsc_offset: TIME_OPS.write_tsc_offset,
  set_tdp_cr3: MMU_OPS.set_tdp_cr3,
  check_intercept: NESTED_OPS.check_intercept,
  handle_external_intr: RUN_LOOP_OPS.handle_external_intr,
  mpx_supported: CAPABILITY_OPS.mpx_supported,
  xsaves_supported: CAPABILITY_OPS.xsaves_supported,
  check_nested_events: NESTED_OPS.check_nested_events,
  sched_in: VCPU_LIFECYCLE_OPS.sched_in,
  slot_enable_log_dirty: DIRTY_LOG_OPS.slot_enable_log_dirty,
  slot_disable_log_dirty: DIRTY_LOG_OPS.slot_disable_log_dirty,
  flush_log_dirty: DIRTY_LOG_OPS.flush_log_dirty,
  enable_log_dirty_pt_masked: DIRTY_LOG_OPS.enable_log_dirty_pt_masked,
  pre_block: HALT_BLOCK_OPS.pre_block,
  post_block: HALT_BLOCK_OPS.post_block,
  pmu_ops: PMU_OPS,
  update_pi_irte: INTERRUPT_CONTROLLER_OPS.update_pi_irte,
  set_hv_timer: TIME_OPS.set_hv_timer,
  cancel_hv_timer: TIME_OPS.cancel_hv_timer,
  setup_mce: VCPU_LIFECYCLE_OPS.setup_mce,
  vm_init: VM_OPS.vm_init,
  vm_destroy: VM_OPS.vm_destroy,
  vcpu_blocking: HALT_BLOCK_OPS.vcpu_blocking,
  vcpu_unblocking: HALT_BLOCK_OPS.vcpu_unblocking,
  apicv_post_state_restore: INTERRUPT_CONTROLLER_OPS.apicv_post_state_restore,
} as const satisfies X86OpsList;
