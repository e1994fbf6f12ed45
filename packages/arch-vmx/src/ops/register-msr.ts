import type { MsrAccess, Vcpu } from "@tapvisor/kvm-core/contract";
import { FEATURE_CONTROL, MSR, VM_ENTRY, VMCS, XCR0 } from "@tapvisor/x86-isa";
import { toVmx, type VcpuVmx } from "../vcpu-vmx.js";
import { loadHostState } from "../vmcs/host-switch.js";
import { addAtomicSwitchMsr, clearAtomicSwitchMsr, findSharedMsr, isSwitched } from "../vmcs/msr-switch.js";
import type { SharedMsr } from "../vmcs/shared-msrs.js";

/** kvm_mpx_supported: the backend switches the bounds configuration, and the host's XCR0 has the bounds registers. */
function mpxSupported(vmx: VcpuVmx): boolean {
  const both = XCR0.BNDREGS | XCR0.BNDCSR;
  return vmx.ops.mpx_supported() && (vmx.vmcs.processor.readXcr0() & both) === both;
}

const VMX_MSRS_FIRST = MSR.IA32_VMX_BASIC;
const VMX_MSRS_LAST = MSR.IA32_VMX_VMFUNC;

function isVmxMsr(index: number): boolean {
  return index >= VMX_MSRS_FIRST && index <= VMX_MSRS_LAST;
}

export function vmxGetMsr(vcpu: Vcpu, msr: MsrAccess): boolean {
  const vmx = toVmx(vcpu);
  const { kvm, vmcs } = vmx;
  switch (msr.index) {
    case MSR.IA32_FS_BASE:
      msr.data = vmcs.read(VMCS.GUEST_FS_BASE);
      return false;
    case MSR.IA32_GS_BASE:
      msr.data = vmcs.read(VMCS.GUEST_GS_BASE);
      return false;
    case MSR.IA32_KERNEL_GS_BASE:
      loadHostState(vcpu);
      msr.data = vmx.guestKernelGsBase;
      return false;
    case MSR.IA32_EFER:
      return kvm.getMsrCommon(vcpu, msr);
    case MSR.IA32_TIME_STAMP_COUNTER:
      msr.data = BigInt.asUintN(64, vmcs.processor.rdtsc() + vmcs.read(VMCS.TSC_OFFSET));
      return false;
    case MSR.IA32_SYSENTER_CS:
      msr.data = BigInt(vmcs.read32(VMCS.GUEST_SYSENTER_CS));
      return false;
    case MSR.IA32_SYSENTER_EIP:
      msr.data = vmcs.read(VMCS.GUEST_SYSENTER_EIP);
      return false;
    case MSR.IA32_SYSENTER_ESP:
      msr.data = vmcs.read(VMCS.GUEST_SYSENTER_ESP);
      return false;
    case MSR.IA32_BNDCFGS:
      if (!mpxSupported(vmx)) return true;
      msr.data = vmcs.read(VMCS.GUEST_BNDCFGS);
      return false;
    case MSR.IA32_FEATURE_CONTROL:
      msr.data = vmx.featureControl;
      return false;
    case MSR.IA32_XSS:
      if (!vmx.ops.xsaves_supported()) return true;
      msr.data = vcpu.arch.xss;
      return false;
    case MSR.IA32_TSC_AUX:
      if (!kvm.guestCpuidHas(vcpu, "RDTSCP") && !msr.hostInitiated) return true;
      break;
    default:
      // A guest without nested VMX has none of the capability MSRs.
      if (isVmxMsr(msr.index)) return true;
  }
  const shared = findSharedMsr(vmx, msr.index);
  if (shared === undefined) return kvm.getMsrCommon(vcpu, msr);
  msr.data = shared.data;
  return false;
}

export function vmxSetMsr(vcpu: Vcpu, msr: MsrAccess): boolean {
  const vmx = toVmx(vcpu);
  const { kvm, vmcs, intel } = vmx;
  const { data } = msr;
  switch (msr.index) {
    case MSR.IA32_EFER:
      return kvm.setMsrCommon(vcpu, msr);
    case MSR.IA32_FS_BASE:
      vmx.segmentCache.clear();
      vmcs.write(VMCS.GUEST_FS_BASE, data);
      return false;
    case MSR.IA32_GS_BASE:
      vmx.segmentCache.clear();
      vmcs.write(VMCS.GUEST_GS_BASE, data);
      return false;
    case MSR.IA32_KERNEL_GS_BASE:
      loadHostState(vcpu);
      vmx.guestKernelGsBase = data;
      return false;
    case MSR.IA32_SYSENTER_CS:
      vmcs.write32(VMCS.GUEST_SYSENTER_CS, Number(data & 0xffffffffn));
      return false;
    case MSR.IA32_SYSENTER_EIP:
      vmcs.write(VMCS.GUEST_SYSENTER_EIP, data);
      return false;
    case MSR.IA32_SYSENTER_ESP:
      vmcs.write(VMCS.GUEST_SYSENTER_ESP, data);
      return false;
    case MSR.IA32_BNDCFGS:
      if (!mpxSupported(vmx)) return true;
      vmcs.write(VMCS.GUEST_BNDCFGS, data);
      return false;
    case MSR.IA32_TIME_STAMP_COUNTER:
      kvm.writeTsc(vcpu, msr);
      return false;
    case MSR.IA32_PAT: {
      if ((intel.config.vmEntry & VM_ENTRY.LOAD_IA32_PAT) === 0) return kvm.setMsrCommon(vcpu, msr);
      if (!isValidPat(data)) return true;
      vmcs.write(VMCS.GUEST_IA32_PAT, data);
      vcpu.arch.pat = data;
      return false;
    }
    case MSR.IA32_FEATURE_CONTROL: {
      const locked = (vmx.featureControl & FEATURE_CONTROL.LOCKED) !== 0n && !msr.hostInitiated;
      if (locked || (data & ~vmx.featureControlValidBits) !== 0n) return true;
      vmx.featureControl = data;
      return false;
    }
    case MSR.IA32_XSS:
      // No supervisor state component is supported.
      if (!vmx.ops.xsaves_supported() || data !== 0n) return true;
      vcpu.arch.xss = data;
      if (data === intel.hostXss) clearAtomicSwitchMsr(vmx, MSR.IA32_XSS);
      else addAtomicSwitchMsr(vmx, MSR.IA32_XSS, data, intel.hostXss);
      return false;
    case MSR.IA32_TSC_AUX:
      if (!kvm.guestCpuidHas(vcpu, "RDTSCP") && !msr.hostInitiated) return true;
      if (data >> 32n !== 0n) return true;
      break;
    default:
      if (isVmxMsr(msr.index)) return true;
  }
  const shared = findSharedMsr(vmx, msr.index);
  return shared === undefined ? kvm.setMsrCommon(vcpu, msr) : setShared(vmx, shared, data);
}

/** Where the guest's values are loaded the new one has to be too; a processor that refuses it leaves the old one. */
function setShared(vmx: VcpuVmx, entry: SharedMsr, data: bigint): boolean {
  const old = entry.data;
  entry.data = data;
  if (!isSwitched(vmx, entry)) return false;
  const refused = vmx.kvm.setSharedMsr(entry.slot, data, entry.mask);
  if (refused) entry.data = old;
  return refused;
}

/** Eight memory types of IA32_PAT (SDM vol. 3, "IA32_PAT MSR"): 2 and 3 are reserved, as are the upper bits. */
function isValidPat(value: bigint): boolean {
  for (let i = 0n; i < 64n; i += 8n) {
    const type = (value >> i) & 0xffn;
    if (type > 7n || type === 2n || type === 3n) return false;
  }
  return true;
}
