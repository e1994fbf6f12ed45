import { MSR } from "@tapvisor/x86-isa";
import { isHostGeneralProtection } from "../contract/index.js";
import type { KvmState } from "../state/kvm-state.js";

/** Registers that user space saves if the host has them. */
const TO_SAVE: readonly number[] = [
  MSR.IA32_SYSENTER_CS, MSR.IA32_SYSENTER_ESP, MSR.IA32_SYSENTER_EIP, MSR.IA32_STAR, MSR.IA32_CSTAR,
  MSR.IA32_KERNEL_GS_BASE, MSR.IA32_FMASK, MSR.IA32_LSTAR, MSR.IA32_TIME_STAMP_COUNTER, MSR.IA32_PAT, MSR.VM_HSAVE_PA,
  MSR.IA32_FEATURE_CONTROL, MSR.IA32_BNDCFGS, MSR.IA32_TSC_AUX,
]; // prettier-ignore

/** Registers that KVM emulates whatever the host has. */
const EMULATED: readonly number[] = [
  MSR.IA32_TSC_ADJUST, MSR.IA32_TSC_DEADLINE, MSR.IA32_MISC_ENABLE, MSR.IA32_MCG_STATUS, MSR.IA32_MCG_CTL,
  MSR.IA32_SMBASE,
]; // prettier-ignore

function hostHas(kvm: KvmState, msr: number): boolean {
  try {
    kvm.host.scheduler.current().rdmsr(msr);
    return true;
  } catch (error) {
    if (isHostGeneralProtection(error)) return false;
    throw error;
  }
}

/** KVM_GET_MSR_INDEX_LIST: kvm_init_msr_list, once, after hardware_setup. */
export function msrIndexList(kvm: KvmState): readonly number[] {
  const { ops } = kvm;
  const saved = TO_SAVE.filter((msr) => {
    if (msr === MSR.IA32_BNDCFGS && !ops.mpx_supported()) return false;
    if (msr === MSR.IA32_TSC_AUX && !ops.rdtscp_supported()) return false;
    return hostHas(kvm, msr);
  });
  const emulated = EMULATED.filter((msr) => msr !== MSR.IA32_SMBASE || ops.cpu_has_high_real_mode_segbase());
  return [...saved, ...emulated];
}
