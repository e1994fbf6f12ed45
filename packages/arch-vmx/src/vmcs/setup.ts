import { isHostGeneralProtection, type Vcpu } from "@tapvisor/kvm-core/contract";
import { CR4, VMCS } from "@tapvisor/x86-isa";
import { SHARED_MSRS } from "../msrs/rows.js";
import type { VmxProcessor } from "../processor.js";
import { NO_DEADLINE, toVmx } from "../vcpu-vmx.js";
import { hasMsrBitmap, hasSecondaryControls, hasTscScaling } from "./capabilities.js";
import { pinBasedControls, primaryControls, secondaryControls } from "./controls.js";
import { setConstantHostState } from "./host-switch.js";

/** Bits of CR4 that a guest may change without an exit. */
export const CR4_GUEST_OWNED_BITS = CR4.PVI | CR4.DE | CR4.PCE | CR4.OSFXSR | CR4.OSXMMEXCPT | CR4.TSD;

/** Port of the POST code: writes to it are used as a delay, and need no exit where no device is. */
export const DEBUG_PORT = 0x80;

/** No VMCS is linked (SDM vol. 3, "Guest Non-Register State"). */
const NO_LINK = 0xffffffffffffffffn;
/** The ratio 1 of the TSC multiplier: 48 fraction bits. */
const TSC_RATIO_ONE = 1n << 48n;

/** vmx_vcpu_setup: all of a new VMCS that the guest's state does not decide. */
export function setupVcpu(vcpu: Vcpu): void {
  const vmx = toVmx(vcpu);
  const { vmcs, intel } = vmx;
  const { config, features, pages } = intel;

  const passesDebugPort = vmx.kvm.passThroughPort(vcpu.vm, DEBUG_PORT);
  vmcs.writeNumber(VMCS.IO_BITMAP_A, passesDebugPort ? pages.debugPortBitmapA : pages.ioBitmapA);
  vmcs.writeNumber(VMCS.IO_BITMAP_B, pages.ioBitmapB);
  if (hasMsrBitmap(config)) vmcs.writeNumber(VMCS.MSR_BITMAP, pages.msrBitmaps.legacy.address);
  vmcs.write(VMCS.VMCS_LINK_POINTER, NO_LINK);

  vmcs.write32(VMCS.PIN_BASED_VM_EXEC_CONTROL, pinBasedControls(vcpu));
  vmx.hvDeadlineTsc = NO_DEADLINE;
  vmcs.write32(VMCS.CPU_BASED_VM_EXEC_CONTROL, primaryControls(vcpu));
  if (hasSecondaryControls(config)) vmcs.write32(VMCS.SECONDARY_VM_EXEC_CONTROL, secondaryControls(vcpu));
  if (hasTscScaling(config)) vmcs.write(VMCS.TSC_MULTIPLIER, TSC_RATIO_ONE);
  if (features.pleGap !== 0) {
    vmcs.write32(VMCS.PLE_GAP, features.pleGap);
    vmx.pleWindow = intel.host.options.pleWindow;
    vmx.pleWindowDirty = true;
  }
  vmcs.write32(VMCS.PAGE_FAULT_ERROR_CODE_MASK, 0);
  vmcs.write32(VMCS.PAGE_FAULT_ERROR_CODE_MATCH, 0);
  vmcs.write32(VMCS.CR3_TARGET_COUNT, 0);

  setConstantHostState(vmx);

  vmcs.write32(VMCS.VM_EXIT_MSR_STORE_COUNT, 0);
  vmcs.write32(VMCS.VM_EXIT_MSR_LOAD_COUNT, 0);
  vmcs.writeNumber(VMCS.VM_EXIT_MSR_LOAD_ADDR, vmx.autoload.hostList);
  vmcs.write32(VMCS.VM_ENTRY_MSR_LOAD_COUNT, 0);
  vmcs.writeNumber(VMCS.VM_ENTRY_MSR_LOAD_ADDR, vmx.autoload.guestList);

  vmx.guestMsrs = SHARED_MSRS.flatMap((msr, slot) =>
    hasMsr(vmcs.processor, msr) ? [{ msr, slot, data: 0n, mask: 0xffffffffffffffffn }] : [],
  );

  vmx.exitControls = config.vmExit;
  vmcs.write32(VMCS.VM_EXIT_CONTROLS, config.vmExit);
  vmx.entryControls = config.vmEntry;
  vmcs.write32(VMCS.VM_ENTRY_CONTROLS, config.vmEntry);

  vmcs.write(VMCS.CR0_GUEST_HOST_MASK, 0xffffffffffffffffn);
  vcpu.arch.cr4GuestOwnedBits = CR4_GUEST_OWNED_BITS | (features.ept ? CR4.PGE : 0n);
  vmcs.write(VMCS.CR4_GUEST_HOST_MASK, ~vcpu.arch.cr4GuestOwnedBits);

  if (vmx.ops.xsaves_supported()) vmcs.write(VMCS.XSS_EXIT_BITMAP, 0n);
}

/** Does the processor have an MSR that can be read and written: rdmsr_safe() and wrmsr_safe(). */
function hasMsr(processor: VmxProcessor, msr: number): boolean {
  try {
    processor.wrmsr(msr, processor.rdmsr(msr));
    return true;
  } catch (error) {
    if (isHostGeneralProtection(error)) return false;
    throw error;
  }
}
