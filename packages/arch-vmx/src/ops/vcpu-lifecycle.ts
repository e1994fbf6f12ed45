import { REG, REQUEST, SREG, type MsrAccess, type Vcpu, type Vm } from "@tapvisor/kvm-core/contract";
import { ACTIVITY, APIC_BASE, CPUID_LEAF, CR0, FEATURE_CONTROL, MSR, SEGMENT_RIGHTS, SEGMENT_TYPE, SYSTEM_DESCRIPTOR, VMCS, APIC_DEFAULT_PHYS_BASE } from "@tapvisor/x86-isa"; // prettier-ignore
import type { KvmIntel } from "../kvm-intel.js";
import { VMX_MSR_ROWS } from "../msrs/rows.js";
import { toVmx, VcpuVmx } from "../vcpu-vmx.js";
import { loadHostState, setPerCpuHostState, syncHostCr4 } from "../vmcs/host-switch.js";
import { allocateVmcs, clearLoadedVmcs, freeLoadedVmcs, initLoadedVmcs, makeCurrent } from "../vmcs/vmcs-lifecycle.js";
import { initRealModeIdentityMap } from "../vmcs/real-mode.js";
import { segmentFields } from "../vmcs/segment-cache.js";
import { setupVcpu } from "../vmcs/setup.js";
import { setupMsrs } from "../vmcs/msr-switch.js";
import { vpidSyncContext } from "../vmcs/tlb.js";
import { shrinkPleWindow } from "../vmcs/ple-window.js";

/** Address of the first instruction after reset. */
const RESET_CS_SELECTOR = 0xf000;
const RESET_CS_BASE = 0xffff0000;
const RESET_RIP = 0xfff0n;
/** IA32_MCG_CAP: local machine-check exceptions. */
const MCG_LMCE_P = 1n << 27n;

export function vmxCreateVcpu(intel: KvmIntel, vm: Vm, id: number): Vcpu {
  const { kvm, ops } = intel;
  const { memory } = intel.host;
  const undo: (() => void)[] = [];
  try {
    const vpid = intel.features.vpid ? intel.vpids.allocate() : 0;
    undo.push(() => {
      intel.vpids.free(vpid);
    });
    const vmcs01 = allocateVmcs(intel);
    undo.push(() => {
      freeLoadedVmcs(intel, vmcs01);
    });
    const autoloadPage = memory.allocatePage();
    undo.push(() => {
      memory.freePages(autoloadPage, 1);
    });
    const vmx = new VcpuVmx(intel, vmcs01, vpid, autoloadPage);
    const vcpu = kvm.vcpuInit(vm, id, vmx);
    vcpu.backendState = vmx;
    vmx.gprWords = vcpu.arch.regs.u32.subarray(0, 32);
    undo.push(() => {
      kvm.vcpuUninit(vcpu);
    });

    const cpu = intel.thisCpu();
    initLoadedVmcs(vmcs01, cpu);
    ops.vcpu_load(vcpu, cpu.id);
    vcpu.cpu = cpu.id;
    try {
      setupVcpu(vcpu);
    } finally {
      ops.vcpu_put(vcpu);
    }
    initRealModeIdentityMap(intel, vm);
    vmx.featureControlValidBits = FEATURE_CONTROL.LOCKED;
    return vcpu;
  } catch (error) {
    while (undo.length > 0) undo.pop()?.();
    throw error;
  }
}

export function vmxFreeVcpu(vcpu: Vcpu): void {
  const vmx = toVmx(vcpu);
  vmx.intel.vpids.free(vmx.vpid);
  freeLoadedVmcs(vmx.intel, vmx.loadedVmcs);
  vmx.intel.host.memory.freePages(vmx.autoload.address, 1);
  vmx.kvm.vcpuUninit(vcpu);
}

export function vmxVcpuLoad(vcpu: Vcpu, cpu: number): void {
  const vmx = toVmx(vcpu);
  const { intel, loadedVmcs } = vmx;
  const alreadyLoaded = loadedVmcs.cpu === cpu;
  if (!alreadyLoaded) {
    clearLoadedVmcs(intel, loadedVmcs);
    intel.cpu(cpu).loadedVmcss.add(loadedVmcs);
  }
  vmx.vmcs.processor = intel.processor(cpu);
  makeCurrent(intel, loadedVmcs, cpu);
  if (!alreadyLoaded) {
    vmx.kvm.makeRequest(vcpu, REQUEST.TLB_FLUSH);
    setPerCpuHostState(vmx);
    loadedVmcs.cpu = cpu;
  }
  syncHostCr4(vmx);
  vmx.hostPkru = vmx.intel.hostHasOspke ? vmx.vmcs.processor.readPkru() : 0;
}

export function vmxVcpuPut(vcpu: Vcpu): void {
  loadHostState(vcpu);
}

export function vmxSchedIn(vcpu: Vcpu): void {
  const vmx = toVmx(vcpu);
  if (vmx.intel.features.pleGap !== 0) shrinkPleWindow(vmx);
}

export function vmxSetupMce(vcpu: Vcpu): void {
  const vmx = toVmx(vcpu);
  if ((vcpu.arch.mcgCap & MCG_LMCE_P) !== 0n) vmx.featureControlValidBits |= FEATURE_CONTROL.LMCE;
  else vmx.featureControlValidBits &= ~FEATURE_CONTROL.LMCE;
}

/** The state after power-up, reset or INIT (SDM vol. 3, "Processor State After Reset"). */
export function vmxVcpuReset(vcpu: Vcpu, initEvent: boolean): void {
  const vmx = toVmx(vcpu);
  const { vmcs, kvm, ops, intel } = vmx;
  vmx.realMode.vm86Active = false;
  vmx.softVnmiBlocked = false;

  // RDX tells the processor's signature.
  vcpu.arch.regs.u64[REG.RDX] = BigInt(vmcs.processor.cpuid(CPUID_LEAF.VERSION, 0).eax >>> 0);
  kvm.setCr8(vcpu, 0n);
  if (!initEvent) {
    const apicBase: MsrAccess = {
      index: MSR.IA32_APIC_BASE,
      data: BigInt(APIC_DEFAULT_PHYS_BASE) | APIC_BASE.ENABLE | (kvm.isBootProcessor(vcpu) ? APIC_BASE.BSP : 0n),
      hostInitiated: true,
    };
    kvm.setApicBase(vcpu, apicBase);
  }
  resetSegments(vmx);

  if (!initEvent) {
    for (const { reset } of VMX_MSR_ROWS) reset?.(vcpu);
    vmcs.writeNumber(VMCS.GUEST_IA32_DEBUGCTL, 0);
  }
  vcpu.arch.regsAvail &= ~(1 << REG.RFLAGS);
  vmcs.writeNumber(VMCS.GUEST_RFLAGS, 2);
  kvm.ripWrite(vcpu, RESET_RIP);

  vmcs.write32(VMCS.GUEST_ACTIVITY_STATE, ACTIVITY.ACTIVE);
  vmcs.write32(VMCS.GUEST_INTERRUPTIBILITY_INFO, 0);
  vmcs.writeNumber(VMCS.GUEST_PENDING_DBG_EXCEPTIONS, 0);
  setupMsrs(vcpu);
  vmcs.write32(VMCS.VM_ENTRY_INTR_INFO_FIELD, 0);
  kvm.makeRequest(vcpu, REQUEST.APIC_PAGE_RELOAD);
  if (vmx.vpid !== 0) vmcs.write32(VMCS.VIRTUAL_PROCESSOR_ID, vmx.vpid);

  const cr0 = CR0.NW | CR0.CD | CR0.ET;
  vcpu.arch.cr0 = cr0;
  ops.set_cr0(vcpu, cr0);
  ops.set_cr4(vcpu, 0n);
  ops.set_efer(vcpu, 0n);
  ops.fpu_activate(vcpu);
  ops.update_bp_intercept(vcpu);
  vpidSyncContext(intel, vmcs.processor, vmx.vpid);
}

const DATA_RIGHTS = SEGMENT_RIGHTS.P | SEGMENT_RIGHTS.S | SEGMENT_TYPE.WRITABLE | SEGMENT_TYPE.ACCESSED;

function resetSegments(vmx: VcpuVmx): void {
  const { vmcs } = vmx;
  vmx.segmentCache.clear();
  const set = (seg: (typeof SREG)[keyof typeof SREG], selector: number, base: number, rights: number): void => {
    const fields = segmentFields(seg);
    vmcs.write32(fields.selector, selector);
    vmcs.writeNumber(fields.base, base);
    vmcs.write32(fields.limit, 0xffff);
    vmcs.write32(fields.rights, rights);
  };
  set(SREG.CS, RESET_CS_SELECTOR, RESET_CS_BASE, DATA_RIGHTS | SEGMENT_TYPE.CODE);
  for (const seg of [SREG.DS, SREG.ES, SREG.FS, SREG.GS, SREG.SS]) set(seg, 0, 0, DATA_RIGHTS);
  set(SREG.TR, 0, 0, SEGMENT_RIGHTS.P | SYSTEM_DESCRIPTOR.TSS_BUSY);
  set(SREG.LDTR, 0, 0, SEGMENT_RIGHTS.P | SYSTEM_DESCRIPTOR.LDT);
  vmcs.writeNumber(VMCS.GUEST_GDTR_BASE, 0);
  vmcs.write32(VMCS.GUEST_GDTR_LIMIT, 0xffff);
  vmcs.writeNumber(VMCS.GUEST_IDTR_BASE, 0);
  vmcs.write32(VMCS.GUEST_IDTR_LIMIT, 0xffff);
}
