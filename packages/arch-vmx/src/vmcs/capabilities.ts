import {
  capability, CPU_BASED, PIN_BASED, SECONDARY_EXEC, VM_ENTRY, VM_EXIT, VMX_EPT_VPID_CAP, type CapabilityField,
} from "@tapvisor/x86-isa"; // prettier-ignore
import type { VmcsConfig } from "./config.js";

/** Questions about what `hardware_setup` found, by the names of 4.9 (cpu_has_vmx_vpid, ...). */

const pin = (bit: number) => (config: VmcsConfig) => (config.pinBased & bit) !== 0;
const primary = (bit: number) => (config: VmcsConfig) => (config.cpuBased & bit) !== 0;
const secondary = (bit: number) => (config: VmcsConfig) => (config.secondary & bit) !== 0;
const eptVpid = (field: CapabilityField) => (config: VmcsConfig) => capability(config.eptVpidCap, field) !== 0;

export const hasVirtualNmis = pin(PIN_BASED.VIRTUAL_NMIS);
export const hasPreemptionTimer = pin(PIN_BASED.VMX_PREEMPTION_TIMER);
export const hasPostedInterrupts = pin(PIN_BASED.POSTED_INTR);

export const hasMsrBitmap = primary(CPU_BASED.USE_MSR_BITMAPS);
export const hasTprShadow = primary(CPU_BASED.TPR_SHADOW);
export const hasSecondaryControls = primary(CPU_BASED.ACTIVATE_SECONDARY_CONTROLS);

export const hasVpid = secondary(SECONDARY_EXEC.ENABLE_VPID);
export const hasEpt = secondary(SECONDARY_EXEC.ENABLE_EPT);
export const hasUnrestrictedGuest = secondary(SECONDARY_EXEC.UNRESTRICTED_GUEST);
export const hasPauseLoopExiting = secondary(SECONDARY_EXEC.PAUSE_LOOP_EXITING);
export const hasRdtscp = secondary(SECONDARY_EXEC.RDTSCP);
export const hasInvpcid = secondary(SECONDARY_EXEC.ENABLE_INVPCID);
export const hasWbinvdExit = secondary(SECONDARY_EXEC.WBINVD_EXITING);
export const hasXsaves = secondary(SECONDARY_EXEC.XSAVES);
export const hasPml = secondary(SECONDARY_EXEC.ENABLE_PML);
export const hasTscScaling = secondary(SECONDARY_EXEC.TSC_SCALING);
export const hasVirtualizeX2apicMode = secondary(SECONDARY_EXEC.VIRTUALIZE_X2APIC_MODE);

export const hasEptExecuteOnly = eptVpid(VMX_EPT_VPID_CAP.EPT_EXECUTE_ONLY);
export const hasEpt4Levels = eptVpid(VMX_EPT_VPID_CAP.EPT_PAGE_WALK_4);
export const hasEpt2MPage = eptVpid(VMX_EPT_VPID_CAP.EPT_2MB_PAGE);
export const hasEpt1GPage = eptVpid(VMX_EPT_VPID_CAP.EPT_1GB_PAGE);
export const hasEptAccessedDirty = eptVpid(VMX_EPT_VPID_CAP.EPT_ACCESSED_DIRTY);
export const hasInveptContext = eptVpid(VMX_EPT_VPID_CAP.INVEPT_SINGLE_CONTEXT);
export const hasInveptGlobal = eptVpid(VMX_EPT_VPID_CAP.INVEPT_ALL_CONTEXT);
export const hasInvvpidSingle = eptVpid(VMX_EPT_VPID_CAP.INVVPID_SINGLE_CONTEXT);
export const hasInvvpidGlobal = eptVpid(VMX_EPT_VPID_CAP.INVVPID_ALL_CONTEXT);

export function hasFlexpriority(config: VmcsConfig): boolean {
  return hasTprShadow(config) && (config.secondary & SECONDARY_EXEC.VIRTUALIZE_APIC_ACCESSES) !== 0;
}

export function hasApicv(config: VmcsConfig): boolean {
  const both = SECONDARY_EXEC.APIC_REGISTER_VIRT | SECONDARY_EXEC.VIRTUAL_INTR_DELIVERY;
  return (config.secondary & both) === both && hasPostedInterrupts(config);
}

export function hasMpx(config: VmcsConfig): boolean {
  return (config.vmExit & VM_EXIT.CLEAR_BNDCFGS) !== 0 && (config.vmEntry & VM_ENTRY.LOAD_BNDCFGS) !== 0;
}
