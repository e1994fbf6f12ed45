import { KvmError } from "@tapvisor/kvm-core/contract";
import { EFER, MSR } from "@tapvisor/x86-isa";
import type { KvmAmd } from "../kvm-amd.js";

/** SVM has no capabilities in which processors of one machine could differ, says Linux: always compatible. */
export function svmCheckProcessorCompat(): boolean {
  return true;
}

export function svmHardwareEnable(amd: KvmAmd): void {
  const processor = amd.thisCpu();
  const efer = processor.rdmsr(MSR.IA32_EFER);
  if ((efer & EFER.SVME) !== 0n) {
    throw new KvmError(
      "EBUSY",
      "hardware_enable",
      `EFER.SVME of processor ${String(processor.id)} is set: SVM is in use`,
    );
  }
  const saveArea = amd.hostSaveAreas.get(processor.id);
  if (saveArea === undefined) {
    throw new KvmError("EINVAL", "hardware_enable", `processor ${String(processor.id)} has no host save area`);
  }
  processor.wrmsr(MSR.IA32_EFER, efer | EFER.SVME);
  processor.wrmsr(MSR.VM_HSAVE_PA, BigInt(saveArea));
}

export function svmHardwareDisable(amd: KvmAmd): void {
  const processor = amd.thisCpu();
  processor.wrmsr(MSR.VM_HSAVE_PA, 0n);
  processor.wrmsr(MSR.IA32_EFER, processor.rdmsr(MSR.IA32_EFER) & ~EFER.SVME);
}
