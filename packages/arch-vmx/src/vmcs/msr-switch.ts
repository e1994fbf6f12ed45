import type { Vcpu } from "@tapvisor/kvm-core/contract";
import { CPUID, CPUID_LEAF, EFER, MSR, SECONDARY_EXEC, VM_ENTRY, VM_EXIT, VMCS } from "@tapvisor/x86-isa";
import { toVmx, type VcpuVmx } from "../vcpu-vmx.js";
import { hasMsrBitmap, hasSecondaryControls } from "./capabilities.js";
import { setEntryControls, setExitControls } from "./controls.js";
import type { SharedMsr } from "./shared-msrs.js";

export function findSharedMsr(vmx: VcpuVmx, msr: number): SharedMsr | undefined {
  return vmx.guestMsrs.find((entry) => entry.msr === msr);
}

/** True when the guest's value is loaded, in the mode that the guest is in. */
export function isSwitched(vmx: VcpuVmx, entry: SharedMsr): boolean {
  return vmx.guestMsrs.indexOf(entry) < vmx.savedMsrCount;
}

/** Settle which MSRs the guest's mode needs: they go to the front. A legacy guest has no use for those of SYSCALL; RDTSCP is in every mode. */
export function setupMsrs(vcpu: Vcpu): void {
  const vmx = toVmx(vcpu);
  const wanted: SharedMsr[] = [];
  const want = (msr: number): void => {
    const entry = findSharedMsr(vmx, msr);
    if (entry !== undefined) wanted.push(entry);
  };
  if (vmx.kvm.isLongMode(vcpu)) {
    want(MSR.IA32_FMASK);
    want(MSR.IA32_LSTAR);
    want(MSR.IA32_CSTAR);
    if ((vcpu.arch.efer & EFER.SCE) !== 0n) want(MSR.IA32_STAR);
  }
  if (vmx.kvm.guestCpuidHas(vcpu, "RDTSCP")) want(MSR.IA32_TSC_AUX);
  const efer = findSharedMsr(vmx, MSR.IA32_EFER);
  if (efer !== undefined && updateTransitionEfer(vcpu, efer)) wanted.push(efer);
  vmx.guestMsrs = [...wanted, ...vmx.guestMsrs.filter((entry) => !wanted.includes(entry))];
  vmx.savedMsrCount = wanted.length;
  if (hasMsrBitmap(vmx.intel.config)) setMsrBitmap(vcpu);
}

/** Point the VMCS to the bitmap of the guest's mode. */
export function setMsrBitmap(vcpu: Vcpu): void {
  const { intel, kvm, vmcs } = toVmx(vcpu);
  const { msrBitmaps } = intel.pages;
  const x2apic =
    hasSecondaryControls(intel.config) &&
    (vmcs.read32(VMCS.SECONDARY_VM_EXEC_CONTROL) & SECONDARY_EXEC.VIRTUALIZE_X2APIC_MODE) !== 0;
  const bitmap = kvm.isLongMode(vcpu)
    ? x2apic
      ? msrBitmaps.longModeX2apic
      : msrBitmaps.longMode
    : x2apic
      ? msrBitmaps.legacyX2apic
      : msrBitmaps.legacy;
  vmcs.writeNumber(VMCS.MSR_BITMAP, bitmap.address);
}

/** Have the processor load `guest` at each entry and `host` at each exit. */
export function addAtomicSwitchMsr(vmx: VcpuVmx, msr: number, guest: bigint, host: bigint): void {
  if (msr === MSR.IA32_EFER && vmx.intel.config.loadEfer) {
    vmx.vmcs.write(VMCS.GUEST_IA32_EFER, guest);
    vmx.vmcs.write(VMCS.HOST_IA32_EFER, host);
    setEntryControls(vmx, vmx.entryControls | VM_ENTRY.LOAD_IA32_EFER);
    setExitControls(vmx, vmx.exitControls | VM_EXIT.LOAD_IA32_EFER);
    return;
  }
  vmx.autoload.set(vmx.vmcs, msr, guest, host);
}

export function clearAtomicSwitchMsr(vmx: VcpuVmx, msr: number): void {
  if (msr === MSR.IA32_EFER && vmx.intel.config.loadEfer) {
    setEntryControls(vmx, vmx.entryControls & ~VM_ENTRY.LOAD_IA32_EFER);
    setExitControls(vmx, vmx.exitControls & ~VM_EXIT.LOAD_IA32_EFER);
    return;
  }
  vmx.autoload.clear(vmx.vmcs, msr);
}

/**
 * Decide how EFER is switched, and prepare that: at each entry and exit where the processor can or NX has to differ,
 * else late, with the other shared MSRs. True: late.
 */
function updateTransitionEfer(vcpu: Vcpu, entry: SharedMsr): boolean {
  const vmx = toVmx(vcpu);
  const { config, features, hostEfer } = vmx.intel;
  let guest = vcpu.arch.efer;
  let ignored = 0n;
  if (!features.ept) {
    // Shadow pages of a guest with CR0.WP and SMEP need NX whatever the guest says.
    const { leaf, subleaf, register, bit } = CPUID.SMEP;
    if ((vmx.vmcs.processor.cpuid(leaf, subleaf)[register] & (1 << bit)) !== 0) guest |= EFER.NXE;
    else if ((guest & EFER.NXE) === 0n) ignored |= EFER.NXE;
  }
  // The IA-32e control switches LMA and LME. SYSCALL is of long mode alone on Intel's processors.
  ignored |= EFER.LMA | EFER.LME;
  if ((guest & EFER.LMA) === 0n) ignored |= EFER.SCE;

  clearAtomicSwitchMsr(vmx, MSR.IA32_EFER);
  if (config.loadEfer || (features.ept && ((vcpu.arch.efer ^ hostEfer) & EFER.NXE) !== 0n)) {
    if ((guest & EFER.LMA) === 0n) guest &= ~EFER.LME;
    if (guest !== hostEfer) addAtomicSwitchMsr(vmx, MSR.IA32_EFER, guest, hostEfer);
    return false;
  }
  entry.data = (guest & ~ignored) | (hostEfer & ignored);
  entry.mask = BigInt.asUintN(64, ~ignored);
  return true;
}

/** True for a processor whose CPUID has NX. */
export function hasNx(cpuid: (leaf: number, subleaf: number) => { readonly edx: number }): boolean {
  return (cpuid(CPUID_LEAF.EXTENDED_FEATURES, 0).edx & (1 << CPUID.NX.bit)) !== 0;
}
