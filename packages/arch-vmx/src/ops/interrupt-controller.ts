import type { Vcpu } from "@tapvisor/kvm-core/contract";
import { SECONDARY_EXEC, VMCS } from "@tapvisor/x86-isa";
import { notImplemented } from "../errors.js";
import type { KvmIntel } from "../kvm-intel.js";
import { toVmx } from "../vcpu-vmx.js";
import { hasVirtualizeX2apicMode } from "../vmcs/capabilities.js";
import { needsTprShadow } from "../vmcs/controls.js";
import { setMsrBitmap } from "../vmcs/msr-switch.js";

/** Exit when the guest's TPR drops below the class of an interrupt that waits for it. Classes are 0 to 15. */
export function updateCr8Intercept(vcpu: Vcpu, tpr: number, irr: number): void {
  toVmx(vcpu).vmcs.write32(VMCS.TPR_THRESHOLD, irr === -1 || tpr < irr ? 0 : irr);
}

export function vmxSetVirtualX2apicMode(vcpu: Vcpu, set: boolean): void {
  const { vmcs, intel } = toVmx(vcpu);
  // It saves exits only together with APICv.
  if (!hasVirtualizeX2apicMode(intel.config) || !vcpu.arch.apicvActive || !needsTprShadow(vcpu)) return;
  const on = set ? SECONDARY_EXEC.VIRTUALIZE_X2APIC_MODE : SECONDARY_EXEC.VIRTUALIZE_APIC_ACCESSES;
  const off = set ? SECONDARY_EXEC.VIRTUALIZE_APIC_ACCESSES : SECONDARY_EXEC.VIRTUALIZE_X2APIC_MODE;
  const controls = vmcs.read32(VMCS.SECONDARY_VM_EXEC_CONTROL);
  vmcs.write32(VMCS.SECONDARY_VM_EXEC_CONTROL, ((controls & ~off) | on) >>> 0);
  setMsrBitmap(vcpu);
}

export function vmxSetApicAccessPageAddr(vcpu: Vcpu, address: number): void {
  toVmx(vcpu).vmcs.writeNumber(VMCS.APIC_ACCESS_ADDR, address);
}

export function vmxGetEnableApicv(intel: KvmIntel): boolean {
  return intel.features.apicv;
}

export function vmxRefreshApicvExecCtrl(_vcpu: Vcpu): void {
  throw notImplemented("refresh_apicv_exec_ctrl");
}

/** Called whenever the routes of the IOAPIC change; only hardware that virtualizes end-of-interrupt has a use for it. */
export function vmxLoadEoiExitmap(vcpu: Vcpu, _bitmap: BigUint64Array): void {
  if (vcpu.arch.apicvActive) throw notImplemented("load_eoi_exitmap");
}

export function vmxHwapicIrrUpdate(_vcpu: Vcpu, _maxIrr: number): void {
  throw notImplemented("hwapic_irr_update");
}

export function vmxHwapicIsrUpdate(_vcpu: Vcpu, _isr: number): void {
  throw notImplemented("hwapic_isr_update");
}

export function vmxSyncPirToIrr(_vcpu: Vcpu): void {
  throw notImplemented("sync_pir_to_irr");
}

export function vmxDeliverPostedInterrupt(_vcpu: Vcpu, _vector: number): void {
  throw notImplemented("deliver_posted_interrupt");
}

export function vmxUpdatePiIrte(): void {
  throw notImplemented("update_pi_irte");
}
