import { KvmError } from "@tapvisor/kvm-core/contract";
import { CR4, FEATURE_CONTROL, MSR } from "@tapvisor/x86-isa";
import { vmxInstructionError } from "../errors.js";
import type { KvmIntel } from "../kvm-intel.js";
import { VM_SUCCEED } from "../processor.js";
import { configDifferences, setupVmcsConfig } from "../vmcs/config.js";
import { clearLocalVmcs } from "../vmcs/vmcs-lifecycle.js";
import { eptSyncGlobal } from "../vmcs/tlb.js";

/** Has this processor the capabilities that `hardware_setup` settled on? A missing required control says no too. */
export function vmxCheckProcessorCompat(intel: KvmIntel): boolean {
  try {
    return configDifferences(intel.config, setupVmcsConfig(intel.thisCpu())).length === 0;
  } catch (error) {
    if (error instanceof KvmError && error.code === "EIO") return false;
    throw error;
  }
}

export function hardwareEnable(intel: KvmIntel): void {
  const processor = intel.thisCpu();
  const cpu = intel.cpu(processor.id);
  const cr4 = processor.readCr(4);
  if ((cr4 & CR4.VMXE) !== 0n)
    throw new KvmError("EBUSY", "hardware_enable", `CR4.VMXE of processor ${processor.id} is set: VT-x is in use`);
  cpu.loadedVmcss.clear();
  cpu.currentVmcs = undefined;

  const wanted = FEATURE_CONTROL.LOCKED | FEATURE_CONTROL.VMXON_ENABLED_OUTSIDE_SMX;
  const control = processor.rdmsr(MSR.IA32_FEATURE_CONTROL);
  if ((control & wanted) !== wanted) processor.wrmsr(MSR.IA32_FEATURE_CONTROL, control | wanted);

  processor.writeCr(4, cr4 | CR4.VMXE);
  if (processor.vmxon(cpu.vmxonRegion) !== VM_SUCCEED) {
    processor.writeCr(4, cr4);
    throw vmxInstructionError(processor, "VMXON", cpu.vmxonRegion);
  }
  if (intel.features.ept) eptSyncGlobal(intel, processor);
  cpu.hostGdt = processor.readSegment("gdtr");
  cpu.hostTr = processor.readSegment("tr");
}

export function hardwareDisable(intel: KvmIntel): void {
  const processor = intel.thisCpu();
  for (const vmcs of [...intel.cpu(processor.id).loadedVmcss]) clearLocalVmcs(intel, vmcs, processor.id);
  if (processor.vmxoff() !== VM_SUCCEED)
    throw vmxInstructionError(processor, "VMXOFF", intel.cpu(processor.id).vmxonRegion);
  processor.writeCr(4, processor.readCr(4) & ~CR4.VMXE);
}
