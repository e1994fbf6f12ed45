import type { Vcpu } from "@tapvisor/kvm-core/contract";
import { DEBUGREG } from "@tapvisor/kvm-core/contract";
import { CPU_BASED, PIN_BASED, SECONDARY_EXEC, VMCS } from "@tapvisor/x86-isa";
import { toVmx, type VcpuVmx } from "../vcpu-vmx.js";
import { hasTprShadow } from "./capabilities.js";

/** The VM-execution controls of one vCPU, from those of the core. */

export function pinBasedControls(vcpu: Vcpu): number {
  let controls = toVmx(vcpu).intel.config.pinBased;
  if (!vcpu.arch.apicvActive) controls &= ~PIN_BASED.POSTED_INTR;
  // On only while a deadline is set.
  controls &= ~PIN_BASED.VMX_PREEMPTION_TIMER;
  return controls >>> 0;
}

export function needsTprShadow(vcpu: Vcpu): boolean {
  const { intel, kvm } = toVmx(vcpu);
  return hasTprShadow(intel.config) && kvm.lapicInKernel(vcpu);
}

export function primaryControls(vcpu: Vcpu): number {
  const { intel } = toVmx(vcpu);
  let controls = intel.config.cpuBased;
  if ((vcpu.arch.switchDbRegs & DEBUGREG.WONT_EXIT) !== 0) controls &= ~CPU_BASED.MOV_DR_EXITING;
  if (!needsTprShadow(vcpu)) {
    controls &= ~CPU_BASED.TPR_SHADOW;
    controls |= CPU_BASED.CR8_STORE_EXITING | CPU_BASED.CR8_LOAD_EXITING;
  }
  if (!intel.features.ept)
    controls |= CPU_BASED.CR3_STORE_EXITING | CPU_BASED.CR3_LOAD_EXITING | CPU_BASED.INVLPG_EXITING;
  return controls >>> 0;
}

export function secondaryControls(vcpu: Vcpu): number {
  const vmx = toVmx(vcpu);
  const { features, config } = vmx.intel;
  let controls = config.secondary;
  if (!features.flexpriority || !vmx.kvm.lapicInKernel(vcpu)) controls &= ~SECONDARY_EXEC.VIRTUALIZE_APIC_ACCESSES;
  if (vmx.vpid === 0) controls &= ~SECONDARY_EXEC.ENABLE_VPID;
  // Without EPT the shadow page tables would have to follow INVPCID.
  if (!features.ept) controls &= ~(SECONDARY_EXEC.ENABLE_EPT | SECONDARY_EXEC.ENABLE_INVPCID);
  if (!features.unrestrictedGuest) controls &= ~SECONDARY_EXEC.UNRESTRICTED_GUEST;
  if (features.pleGap === 0) controls &= ~SECONDARY_EXEC.PAUSE_LOOP_EXITING;
  if (!vcpu.arch.apicvActive) controls &= ~(SECONDARY_EXEC.APIC_REGISTER_VIRT | SECONDARY_EXEC.VIRTUAL_INTR_DELIVERY);
  // On only while the guest's APIC is an x2APIC.
  controls &= ~SECONDARY_EXEC.VIRTUALIZE_X2APIC_MODE;
  if (!features.pml) controls &= ~SECONDARY_EXEC.ENABLE_PML;
  return controls >>> 0;
}

/** Controls that change with the guest's state: a new CPUID must not touch them. */
const DYNAMIC_SECONDARY =
  SECONDARY_EXEC.SHADOW_VMCS | SECONDARY_EXEC.VIRTUALIZE_X2APIC_MODE | SECONDARY_EXEC.VIRTUALIZE_APIC_ACCESSES;

export function updateSecondaryControls(vmx: VcpuVmx, controls: number): void {
  const current = vmx.vmcs.read32(VMCS.SECONDARY_VM_EXEC_CONTROL);
  vmx.vmcs.write32(
    VMCS.SECONDARY_VM_EXEC_CONTROL,
    ((controls & ~DYNAMIC_SECONDARY) | (current & DYNAMIC_SECONDARY)) >>> 0,
  );
}

/** Write the VM-entry controls unless they are so already. */
export function setEntryControls(vmx: VcpuVmx, controls: number): void {
  if (vmx.entryControls === controls >>> 0) return;
  vmx.vmcs.write32(VMCS.VM_ENTRY_CONTROLS, controls >>> 0);
  vmx.entryControls = controls >>> 0;
}

export function setExitControls(vmx: VcpuVmx, controls: number): void {
  if (vmx.exitControls === controls >>> 0) return;
  vmx.vmcs.write32(VMCS.VM_EXIT_CONTROLS, controls >>> 0);
  vmx.exitControls = controls >>> 0;
}
