import { HOST_RESCHEDULE_VECTOR, type Request } from "./contract/index.js";
import { processorOf, type VcpuState, type VmState } from "./state/vcpu-state.js";

/** kvm_make_request: looked at before the next entry. */
export function makeRequest(vcpu: VcpuState, request: Request): void {
  vcpu.arch.requests |= 1 << request;
}

/** kvm_check_request: true once for a request that was made. */
export function checkRequest(vcpu: VcpuState, request: Request): boolean {
  const bit = 1 << request;
  if ((vcpu.arch.requests & bit) === 0) return false;
  vcpu.arch.requests &= ~bit;
  return true;
}

/** kvm_vcpu_kick: a guest that runs on another processor exits, and looks at its requests. */
export function kick(vcpu: VcpuState): void {
  if (vcpu.inGuestMode && vcpu.cpu >= 0) processorOf(vcpu).raiseInterrupt(HOST_RESCHEDULE_VECTOR);
}

/** kvm_make_all_cpus_request. */
export function makeAllCpusRequest(vm: VmState, request: Request): void {
  for (const vcpu of vm.vcpus) {
    makeRequest(vcpu, request);
    kick(vcpu);
  }
}
