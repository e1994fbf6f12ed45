import type { CpuidEntry, Vcpu } from "@tapvisor/kvm-core/contract";
import { CPUID, FEATURE_CONTROL, SECONDARY_EXEC } from "@tapvisor/x86-isa";
import type { KvmIntel } from "../kvm-intel.js";
import { toVmx } from "../vcpu-vmx.js";
import { hasInvpcid, hasMpx, hasRdtscp, hasSecondaryControls, hasXsaves } from "../vmcs/capabilities.js";
import { secondaryControls, updateSecondaryControls } from "../vmcs/controls.js";
import { setupMsrs } from "../vmcs/msr-switch.js";

export function reportFlexpriority(intel: KvmIntel): boolean {
  return intel.features.flexpriority;
}

/** Unrestricted guest, or emulation of what the processor would refuse: this backend always has the one or the other. */
export function vmxHasHighRealModeSegbase(): boolean {
  return true;
}

export function vmxRdtscpSupported(intel: KvmIntel): boolean {
  return hasRdtscp(intel.config);
}

export function vmxInvpcidSupported(intel: KvmIntel): boolean {
  return hasInvpcid(intel.config) && intel.features.ept;
}

export function vmxMpxSupported(intel: KvmIntel): boolean {
  return hasMpx(intel.config);
}

export function vmxXsavesSupported(intel: KvmIntel): boolean {
  return hasXsaves(intel.config);
}

/** 4.9 adds VMX to leaf 1 with nested VMX, and nothing without it. */
export function vmxSetSupportedCpuid(_leaf: number, _entry: CpuidEntry): void {}

/** Follow the guest's CPUID: an instruction that it does not show has to raise #UD, so its control goes off. */
export function vmxCpuidUpdate(vcpu: Vcpu): void {
  const vmx = toVmx(vcpu);
  const { kvm, ops } = vmx;
  let controls = secondaryControls(vcpu);
  if (ops.rdtscp_supported() && !kvm.guestCpuidHas(vcpu, "RDTSCP")) controls &= ~SECONDARY_EXEC.RDTSCP;
  if (ops.invpcid_supported() && !(kvm.guestCpuidHas(vcpu, "INVPCID") && kvm.guestCpuidHas(vcpu, "PCID"))) {
    controls &= ~SECONDARY_EXEC.ENABLE_INVPCID;
    // INVPCID without PCID is no processor's: hide it.
    const entry = kvm.findCpuidEntry(vcpu, CPUID.INVPCID.leaf, CPUID.INVPCID.subleaf);
    if (entry !== undefined) entry.ebx &= ~(1 << CPUID.INVPCID.bit);
  }
  if (hasSecondaryControls(vmx.intel.config)) updateSecondaryControls(vmx, controls >>> 0);
  // IA32_TSC_AUX comes and goes with RDTSCP.
  setupMsrs(vcpu);
  // VMXON in a guest would need nested VMX.
  vmx.featureControlValidBits &= ~FEATURE_CONTROL.VMXON_ENABLED_OUTSIDE_SMX;
}
