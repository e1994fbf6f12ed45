import { REQUEST } from "../contract/index.js";
import { makeAllCpusRequest } from "../requests.js";
import type { VcpuState, VmState } from "../state/vcpu-state.js";
import { apicIsEnabledInHardware } from "./lapic-registers.js";

/** kvm_make_scan_ioapic_request: which vectors must exit on EOI depends on every APIC's place and the I/O APIC's routes. */
export function requestIoapicScan(vm: VmState): void {
  if (vm.ioapic !== undefined) makeAllCpusRequest(vm, REQUEST.SCAN_IOAPIC);
}

/** vcpu_scan_ioapic. */
export function scanIoapic(vcpu: VcpuState): void {
  const { arch, lapic } = vcpu;
  const { ops } = vcpu.kvm;
  // Without virtualized EOI every EOI exits anyway.
  if (lapic === undefined || !apicIsEnabledInHardware(arch.apicBase) || !arch.apicvActive) return;
  ops.sync_pir_to_irr(vcpu);
  const bitmap = new BigUint64Array(4);
  vcpu.vm.ioapic?.scanVectors(bitmap);
  ops.load_eoi_exitmap(vcpu, bitmap);
}
