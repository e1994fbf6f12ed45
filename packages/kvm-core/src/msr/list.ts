import { isHostGeneralProtection } from "../contract/index.js";
import type { KvmState } from "../state/kvm-state.js";
import { SAVED_ROWS } from "./rows.js";

function hostHasMsr(kvm: KvmState, msr: number): boolean {
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
  return SAVED_ROWS.filter(({ index, saved, offered }) => {
    if (offered?.(kvm) === false) return false;
    return saved === "always" || hostHasMsr(kvm, index);
  }).map(({ index }) => index);
}
