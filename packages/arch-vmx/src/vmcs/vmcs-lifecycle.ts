import { vmxInstructionError } from "../errors.js";
import type { KvmIntel } from "../kvm-intel.js";
import { VM_SUCCEED, type VmxProcessor } from "../processor.js";
import { LoadedVmcs } from "./loaded-vmcs.js";

/** Take one page for a VMCS and write the revision identifier that the processor wants at its start. */
export function allocateVmcs(intel: KvmIntel): LoadedVmcs {
  const region = intel.host.memory.allocatePage();
  intel.host.memory.writeU32(region, intel.config.revisionId);
  return new LoadedVmcs(region);
}

/** VMCLEAR on the processor that executes this: the launch state becomes clear, cached data goes to memory. */
export function initLoadedVmcs(vmcs: LoadedVmcs, processor: VmxProcessor): void {
  if (processor.vmclear(vmcs.address) !== VM_SUCCEED) throw vmxInstructionError(processor, "VMCLEAR", vmcs.address);
  vmcs.cpu = -1;
  vmcs.launched = false;
}

/** Clear a VMCS that is active on processor `cpu`, which is the one that executes this. */
export function clearLocalVmcs(intel: KvmIntel, vmcs: LoadedVmcs, cpu: number): void {
  if (vmcs.cpu !== cpu) return;
  const local = intel.cpu(cpu);
  if (local.currentVmcs === vmcs) local.currentVmcs = undefined;
  local.loadedVmcss.delete(vmcs);
  initLoadedVmcs(vmcs, intel.processor(cpu));
}

/** Clear a VMCS wherever it is active, by a call on that processor. */
export function clearLoadedVmcs(intel: KvmIntel, vmcs: LoadedVmcs): void {
  const { cpu } = vmcs;
  if (cpu !== -1) intel.host.scheduler.runOn(cpu, () => clearLocalVmcs(intel, vmcs, cpu));
}

/** Make a VMCS the current one of this processor. */
export function makeCurrent(intel: KvmIntel, vmcs: LoadedVmcs, cpu: number): void {
  const local = intel.cpu(cpu);
  if (local.currentVmcs === vmcs) return;
  const processor = intel.processor(cpu);
  if (processor.vmptrld(vmcs.address) !== VM_SUCCEED) throw vmxInstructionError(processor, "VMPTRLD", vmcs.address);
  local.currentVmcs = vmcs;
}

/** Clear a VMCS and give its page back. */
export function freeLoadedVmcs(intel: KvmIntel, vmcs: LoadedVmcs): void {
  clearLoadedVmcs(intel, vmcs);
  intel.host.memory.freePages(vmcs.address, 1);
}
