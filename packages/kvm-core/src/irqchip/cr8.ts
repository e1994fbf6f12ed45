import type { KvmVcpu } from "../vcpu.js";

/** update_cr8_intercept: exit when the guest lowers its task priority below the highest pending interrupt. */
export function updateCr8Intercept(vcpu: KvmVcpu): void {
  const { ops } = vcpu.kvm;
  const { lapic } = vcpu;
  if (ops.update_cr8_intercept === undefined || lapic === undefined || vcpu.arch.apicvActive) return;
  const irr = lapic.findHighestIrr();
  ops.update_cr8_intercept(vcpu, lapic.getCr8(), irr === -1 ? -1 : irr >> 4);
}
