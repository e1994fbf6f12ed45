import { REG, type Vcpu } from "@tapvisor/kvm-core/contract";
import { CPU_BASED, CR0, CR4, EFER, MSR, SEGMENT_RIGHTS, SYSTEM_DESCRIPTOR, VM_ENTRY, VMCS } from "@tapvisor/x86-isa";
import { toVmx } from "../vcpu-vmx.js";
import { toVmxVm } from "../vm-vmx.js";
import { setEntryControls } from "../vmcs/controls.js";
import { emulationRequired } from "../vmcs/guest-state.js";
import { loadHostState } from "../vmcs/host-switch.js";
import { loadPdptrs } from "../vmcs/pdptrs.js";
import { enterPmode, enterRmode } from "../vmcs/real-mode.js";
import { findSharedMsr, setupMsrs } from "../vmcs/msr-switch.js";
import { constructEptp } from "../vmcs/tlb.js";

const CR3_BIT = 1 << REG.CR3;
/** Caching is the host's business. */
const CR0_NEVER = CR0.NW | CR0.CD;
/** VMX operation wants NE; without unrestricted guest PE and PG too. WP is needed for the host's own protections. */
const CR0_ALWAYS_UNRESTRICTED = CR0.WP | CR0.NE;
const CR0_ALWAYS = CR0_ALWAYS_UNRESTRICTED | CR0.PG | CR0.PE;
const CR4_ALWAYS = CR4.PAE | CR4.VMXE;

export function vmxDecacheCr0GuestBits(vcpu: Vcpu): void {
  const { arch } = vcpu;
  const own = arch.cr0GuestOwnedBits;
  arch.cr0 = (arch.cr0 & ~own) | (toVmx(vcpu).vmcs.read(VMCS.GUEST_CR0) & own);
}

export function vmxDecacheCr3(vcpu: Vcpu): void {
  const { intel, kvm, vmcs } = toVmx(vcpu);
  // Without paging CR3 accesses exit, and without EPT they always do: then the copy is the register.
  if (intel.features.ept && kvm.isPaging(vcpu)) vcpu.arch.cr3 = vmcs.read(VMCS.GUEST_CR3);
  vcpu.arch.regsAvail |= CR3_BIT;
}

export function vmxDecacheCr4GuestBits(vcpu: Vcpu): void {
  const { arch } = vcpu;
  const own = arch.cr4GuestOwnedBits;
  arch.cr4 = (arch.cr4 & ~own) | (toVmx(vcpu).vmcs.read(VMCS.GUEST_CR4) & own);
}

export function vmxSetCr0(vcpu: Vcpu, cr0: bigint): void {
  const vmx = toVmx(vcpu);
  const { intel, kvm, vmcs, realMode } = vmx;
  const { arch } = vcpu;
  let hardware = cr0 & ~CR0_NEVER;
  if (intel.features.unrestrictedGuest) hardware |= CR0_ALWAYS_UNRESTRICTED;
  else {
    hardware |= CR0_ALWAYS;
    if (realMode.vm86Active && (cr0 & CR0.PE) !== 0n) enterPmode(vcpu);
    if (!realMode.vm86Active && (cr0 & CR0.PE) === 0n) enterRmode(vcpu);
  }
  if ((arch.efer & EFER.LME) !== 0n) {
    const paging = (cr0 & CR0.PG) !== 0n;
    if (!kvm.isPaging(vcpu) && paging) enterLongMode(vcpu);
    if (kvm.isPaging(vcpu) && !paging) exitLongMode(vcpu);
  }
  if (intel.features.ept) {
    updateEptPagingMode(vcpu, cr0);
    // With EPT nothing of the host's depends on WP.
    if ((cr0 & CR0.WP) === 0n) hardware &= ~CR0.WP;
  }
  if (!arch.fpuActive) hardware |= CR0.TS | CR0.MP;
  vmcs.write(VMCS.CR0_READ_SHADOW, cr0);
  vmcs.write(VMCS.GUEST_CR0, hardware);
  arch.cr0 = cr0;
  vmx.emulationRequired = emulationRequired(vcpu);
}

/** A guest without paging has a CR3 that is not the one in use: its accesses have to exit. */
function updateEptPagingMode(vcpu: Vcpu, cr0: bigint): void {
  const { kvm, vmcs, ops } = toVmx(vcpu);
  const { arch } = vcpu;
  if ((arch.regsAvail & CR3_BIT) === 0) ops.decache_cr3(vcpu);
  const exiting = CPU_BASED.CR3_LOAD_EXITING | CPU_BASED.CR3_STORE_EXITING;
  if ((cr0 & CR0.PG) === 0n) vmcs.setBits(VMCS.CPU_BASED_VM_EXEC_CONTROL, exiting);
  else if (!kvm.isPaging(vcpu)) vmcs.clearBits(VMCS.CPU_BASED_VM_EXEC_CONTROL, exiting);
  else return;
  arch.cr0 = cr0;
  ops.set_cr4(vcpu, kvm.readCr4(vcpu));
}

function enterLongMode(vcpu: Vcpu): void {
  const vmx = toVmx(vcpu);
  const { vmcs, ops } = vmx;
  vmx.segmentCache.clear();
  // VM entry wants a busy 64-bit TSS in IA-32e mode, which the guest loads only later.
  const rights = vmcs.read32(VMCS.GUEST_TR_AR_BYTES);
  if ((rights & SEGMENT_RIGHTS.TYPE) !== SYSTEM_DESCRIPTOR.TSS_BUSY)
    vmcs.write32(VMCS.GUEST_TR_AR_BYTES, (rights & ~SEGMENT_RIGHTS.TYPE) | SYSTEM_DESCRIPTOR.TSS_BUSY);
  ops.set_efer(vcpu, vcpu.arch.efer | EFER.LMA);
}

function exitLongMode(vcpu: Vcpu): void {
  const vmx = toVmx(vcpu);
  setEntryControls(vmx, vmx.entryControls & ~VM_ENTRY.IA32E_MODE);
  vmx.ops.set_efer(vcpu, vcpu.arch.efer & ~EFER.LMA);
}

/** Root of the guest's page tables as the processor is to use them: with EPT the second stage's. */
export function vmxSetCr3(vcpu: Vcpu, root: number): void {
  const { intel, kvm, vmcs, ops } = toVmx(vcpu);
  if (!intel.features.ept) {
    ops.tlb_flush(vcpu);
    vmcs.writeNumber(VMCS.GUEST_CR3, root);
    return;
  }
  vmcs.writeNumber(VMCS.EPT_POINTER, constructEptp(intel, root));
  const guestCr3 = kvm.isPaging(vcpu) ? kvm.readCr3(vcpu) : BigInt(toVmxVm(vcpu.vm).identityMapAddr);
  loadPdptrs(vcpu);
  ops.tlb_flush(vcpu);
  vmcs.write(VMCS.GUEST_CR3, guestCr3);
}

export function vmxSetCr4(vcpu: Vcpu, cr4: bigint): boolean {
  const vmx = toVmx(vcpu);
  const { intel, kvm, vmcs } = vmx;
  // VMXE needs nested VMX.
  if ((cr4 & CR4.VMXE) !== 0n) return true;
  // Machine checks are the host's business, whatever the guest says.
  let hardware =
    (vmcs.processor.readCr(4) & CR4.MCE) |
    (cr4 & ~CR4.MCE) |
    (vmx.realMode.vm86Active ? CR4_ALWAYS | intel.vm86Extensions : CR4_ALWAYS);
  vcpu.arch.cr4 = cr4;
  const paging = kvm.isPaging(vcpu);
  if (intel.features.ept) {
    // Without paging the guest runs on the identity map, which has 4-MiB pages.
    if (!paging) hardware = (hardware & ~CR4.PAE) | CR4.PSE;
    else if ((cr4 & CR4.PAE) === 0n) hardware &= ~CR4.PAE;
  }
  // The guest without paging really runs with it, on pages that have the user bit.
  if (!intel.features.unrestrictedGuest && !paging) hardware &= ~(CR4.SMEP | CR4.SMAP | CR4.PKE);
  vmcs.write(VMCS.CR4_READ_SHADOW, cr4);
  vmcs.write(VMCS.GUEST_CR4, hardware);
  return false;
}

export function vmxSetEfer(vcpu: Vcpu, efer: bigint): void {
  const vmx = toVmx(vcpu);
  const entry = findSharedMsr(vmx, MSR.IA32_EFER);
  if (entry === undefined) return;
  // Which KERNEL_GS_BASE is in the register depends on long mode.
  loadHostState(vcpu);
  vcpu.arch.efer = efer;
  if ((efer & EFER.LMA) !== 0n) {
    setEntryControls(vmx, vmx.entryControls | VM_ENTRY.IA32E_MODE);
    entry.data = efer;
  } else {
    setEntryControls(vmx, vmx.entryControls & ~VM_ENTRY.IA32E_MODE);
    entry.data = efer & ~EFER.LME;
  }
  setupMsrs(vcpu);
}
