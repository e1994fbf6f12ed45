import type { Vcpu } from "@tapvisor/kvm-core/contract";
import { CR0, MSR, SELECTOR, VM_EXIT, VMCS } from "@tapvisor/x86-isa";
import { toVmx, type VcpuVmx } from "../vcpu-vmx.js";

/** VM entry refuses a host selector with RPL or TI set (SDM vol. 3, "Checks on Host Segment and Descriptor-Table Registers"). */
function needsReload(selector: number): boolean {
  return (selector & (SELECTOR.RPL | SELECTOR.TI)) !== 0;
}

/** vmx_save_host_state: once until the vCPU is put. */
export function saveHostState(vcpu: Vcpu): void {
  const vmx = toVmx(vcpu);
  const { hostState, vmcs, intel } = vmx;
  if (hostState.loaded) return;
  hostState.loaded = true;
  const cpu = vmcs.processor;
  hostState.ldtr = cpu.readSegment("ldtr");
  hostState.fs = cpu.readSegment("fs");
  hostState.gs = cpu.readSegment("gs");
  hostState.ds = cpu.readSegment("ds");
  hostState.es = cpu.readSegment("es");
  hostState.fsReloadNeeded = needsReload(hostState.fs.selector);
  hostState.gsLdtReloadNeeded = hostState.ldtr.selector !== 0 || needsReload(hostState.gs.selector);
  setHostFsGs(
    vmx,
    hostState.fsReloadNeeded ? 0 : hostState.fs.selector,
    needsReload(hostState.gs.selector) ? 0 : hostState.gs.selector,
  );
  syncHostCr4(vmx);
  vmx.hostDebugctl = cpu.rdmsr(MSR.IA32_DEBUGCTL);

  hostState.kernelGsBase = cpu.rdmsr(MSR.IA32_KERNEL_GS_BASE);
  if (vmx.kvm.isLongMode(vcpu)) cpu.wrmsr(MSR.IA32_KERNEL_GS_BASE, vmx.guestKernelGsBase);
  if (intel.hostHasMpx) hostState.bndcfgs = cpu.rdmsr(MSR.IA32_BNDCFGS);
  for (let i = 0; i < vmx.savedMsrCount; i++) {
    const entry = vmx.guestMsrs[i];
    if (entry !== undefined) vmx.kvm.setSharedMsr(entry.slot, entry.data, entry.mask);
  }
}

/** __vmx_load_host_state: give the host its registers back. */
export function loadHostState(vcpu: Vcpu): void {
  const vmx = toVmx(vcpu);
  const { hostState, intel } = vmx;
  if (!hostState.loaded) return;
  hostState.loaded = false;
  const cpu = vmx.vmcs.processor;
  if (vmx.kvm.isLongMode(vcpu)) vmx.guestKernelGsBase = cpu.rdmsr(MSR.IA32_KERNEL_GS_BASE);
  if (hostState.gsLdtReloadNeeded) {
    cpu.writeSegment("ldtr", hostState.ldtr);
    cpu.writeSegment("gs", hostState.gs);
  }
  if (hostState.fsReloadNeeded) cpu.writeSegment("fs", hostState.fs);
  if (hostState.ds.selector !== 0 || hostState.es.selector !== 0) {
    cpu.writeSegment("ds", hostState.ds);
    cpu.writeSegment("es", hostState.es);
  }
  // An exit loads TR with a limit of 67H and GDTR with one of FFFFH (SDM vol. 3, "Loading Host Segment and
  // Descriptor-Table Registers").
  const { hostTr, hostGdt } = intel.cpu(cpu.id);
  cpu.writeSegment("tr", hostTr);
  cpu.writeSegment("gdtr", hostGdt);
  cpu.wrmsr(MSR.IA32_KERNEL_GS_BASE, hostState.kernelGsBase);
  if (hostState.bndcfgs !== 0n) cpu.wrmsr(MSR.IA32_BNDCFGS, hostState.bndcfgs);
}

/** Write the host's FS and GS where they have changed. */
function setHostFsGs(vmx: VcpuVmx, fsSelector: number, gsSelector: number): void {
  const { hostState, vmcs } = vmx;
  const fsBase = vmcs.processor.rdmsr(MSR.IA32_FS_BASE);
  const gsBase = vmcs.processor.rdmsr(MSR.IA32_GS_BASE);
  if (fsSelector !== hostState.vmcsFsSelector) vmcs.write32(VMCS.HOST_FS_SELECTOR, fsSelector);
  if (gsSelector !== hostState.vmcsGsSelector) vmcs.write32(VMCS.HOST_GS_SELECTOR, gsSelector);
  if (fsBase !== hostState.vmcsFsBase) vmcs.write(VMCS.HOST_FS_BASE, fsBase);
  if (gsBase !== hostState.vmcsGsBase) vmcs.write(VMCS.HOST_GS_BASE, gsBase);
  hostState.vmcsFsSelector = fsSelector;
  hostState.vmcsGsSelector = gsSelector;
  hostState.vmcsFsBase = fsBase;
  hostState.vmcsGsBase = gsBase;
}

/** Keep HOST_CR4 what CR4 is: an exit would change it otherwise. */
export function syncHostCr4(vmx: VcpuVmx): void {
  const cr4 = vmx.vmcs.processor.readCr(4);
  if (cr4 === vmx.hostState.vmcsHostCr4) return;
  vmx.vmcs.write(VMCS.HOST_CR4, cr4);
  vmx.hostState.vmcsHostCr4 = cr4;
}

/** vmx_set_constant_host_state: the host state that is the same on every processor and at every exit. */
export function setConstantHostState(vmx: VcpuVmx): void {
  const { vmcs, intel } = vmx;
  const cpu = vmcs.processor;
  vmcs.write(VMCS.HOST_CR0, cpu.readCr(0) & ~CR0.TS);
  vmcs.write(VMCS.HOST_CR3, cpu.readCr(3));
  const cr4 = cpu.readCr(4);
  vmcs.write(VMCS.HOST_CR4, cr4);
  vmx.hostState.vmcsHostCr4 = cr4;

  vmcs.write32(VMCS.HOST_CS_SELECTOR, cpu.readSegment("cs").selector);
  // Null, as user space has them too in the common case: then they need no reload.
  vmcs.write32(VMCS.HOST_DS_SELECTOR, 0);
  vmcs.write32(VMCS.HOST_ES_SELECTOR, 0);
  vmcs.write32(VMCS.HOST_SS_SELECTOR, cpu.readSegment("ss").selector);
  vmcs.write32(VMCS.HOST_TR_SELECTOR, cpu.readSegment("tr").selector);
  vmcs.write32(VMCS.HOST_FS_SELECTOR, 0);
  vmcs.write32(VMCS.HOST_GS_SELECTOR, 0);
  vmcs.write(VMCS.HOST_FS_BASE, 0n);
  vmcs.write(VMCS.HOST_GS_BASE, 0n);
  setHostFsGs(vmx, 0, 0);
  vmcs.write(VMCS.HOST_IDTR_BASE, cpu.readSegment("idtr").base);
  // The hypervisor has no machine code: `vmlaunch` returns where an exit would go to HOST_RIP.
  vmcs.write(VMCS.HOST_RIP, 0n);
  vmcs.write(VMCS.HOST_RSP, 0n);

  vmcs.write32(VMCS.HOST_IA32_SYSENTER_CS, Number(cpu.rdmsr(MSR.IA32_SYSENTER_CS) & 0xffffffffn));
  vmcs.write(VMCS.HOST_IA32_SYSENTER_EIP, cpu.rdmsr(MSR.IA32_SYSENTER_EIP));
  if ((intel.config.vmExit & VM_EXIT.LOAD_IA32_PAT) !== 0) vmcs.write(VMCS.HOST_IA32_PAT, cpu.rdmsr(MSR.IA32_PAT));
}

/** The host state that belongs to the processor: TR, GDTR and the stack of SYSENTER. */
export function setPerCpuHostState(vmx: VcpuVmx): void {
  const { vmcs, intel } = vmx;
  const cpu = vmcs.processor;
  const { hostTr, hostGdt } = intel.cpu(cpu.id);
  vmcs.write(VMCS.HOST_TR_BASE, hostTr.base);
  vmcs.write(VMCS.HOST_GDTR_BASE, hostGdt.base);
  vmcs.write(VMCS.HOST_IA32_SYSENTER_ESP, cpu.rdmsr(MSR.IA32_SYSENTER_ESP));
}
