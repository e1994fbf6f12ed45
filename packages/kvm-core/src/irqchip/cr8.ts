import type { VcpuState } from "../state/vcpu-state.js";
import { findHighestIrr, lapicCr8 } from "./lapic-vectors.js";

/** update_cr8_intercept: exit when the guest lowers its task priority below the highest pending interrupt. */
export function updateCr8Intercept(vcpu: VcpuState): void {
  const { ops } = vcpu.kvm;
  const { lapic } = vcpu;
  if (ops.update_cr8_intercept === undefined || lapic === undefined || vcpu.arch.apicvActive) return;
  const irr = findHighestIrr(lapic);
  ops.update_cr8_intercept(vcpu, lapicCr8(lapic), irr === -1 ? -1 : irr >> 4);
}
