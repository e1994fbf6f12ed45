import { USER_SLOTS } from "./memory/slots.js";
import { MCE_BANKS } from "./msr/machine-check-banks.js";
import type { KvmState } from "./state/kvm-state.js";

/** Answers of KVM_CHECK_EXTENSION that depend on nothing. */
const EXTENSIONS: Readonly<Record<string, number>> = {
  IRQCHIP: 1, PIT2: 1, HLT: 1, USER_MEMORY: 1, SET_TSS_ADDR: 1, EXT_CPUID: 1, NOP_IO_DELAY: 1, MP_STATE: 1, DESTROY_MEMORY_REGION_WORKS: 1,
  USER_NMI: 1, SET_GUEST_DEBUG: 1, SET_IDENTITY_MAP_ADDR: 1, VCPU_EVENTS: 1, DEBUGREGS: 1, READONLY_MEM: 1,
  TSC_DEADLINE_TIMER: 1, SET_BOOT_CPU_ID: 1, GET_TSC_KHZ: 1, NR_VCPUS: 160, MAX_VCPUS: 288, MAX_VCPU_ID: 1023,
  NR_MEMSLOTS: USER_SLOTS, MCE: MCE_BANKS,
}; // prettier-ignore

/** KVM_CHECK_EXTENSION by the capability's name without KVM_CAP_; 0 for one that is not there. */
export function checkExtension({ ops }: KvmState, capability: string): number {
  if (capability === "VAPIC") return ops.cpu_has_accelerated_tpr() ? 0 : 1;
  if (capability === "X86_SMM") return ops.cpu_has_high_real_mode_segbase() ? 1 : 0;
  return Object.hasOwn(EXTENSIONS, capability) ? (EXTENSIONS[capability] ?? 0) : 0;
}
