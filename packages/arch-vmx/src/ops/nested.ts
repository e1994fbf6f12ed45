import type { InstructionInfo, InterceptStage, Vcpu } from "@tapvisor/kvm-core/contract";

/** 4.9 lets the emulator go on at every stage. */
export function vmxCheckIntercept(_vcpu: Vcpu, _info: InstructionInfo, _stage: InterceptStage): "continue" {
  return "continue";
}

/** Without nested VMX no vCPU is in a nested guest, so no event goes to a guest's hypervisor. */
export function vmxCheckNestedEvents(_vcpu: Vcpu, _externalIntr: boolean): boolean {
  return false;
}
