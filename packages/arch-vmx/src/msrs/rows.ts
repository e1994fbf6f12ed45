import type { MsrAccess, Vcpu } from "@tapvisor/kvm-core/contract";
import { FEATURE_CONTROL, MSR, VM_ENTRY, VMCS, XCR0 } from "@tapvisor/x86-isa";
import { toVmx, type VcpuVmx } from "../vcpu-vmx.js";
import { loadHostState } from "../vmcs/host-switch.js";
import { addAtomicSwitchMsr, clearAtomicSwitchMsr } from "../vmcs/msr-switch.js";
import { segmentBase, shared, vmcsField, type VmxMsrRow } from "./row.js";

const low32 = (data: bigint): boolean => data >> 32n === 0n;

/** kvm_mpx_supported: the backend switches the bounds configuration, and the host's XCR0 has the bounds registers. */
function mpxSupported(vmx: VcpuVmx): boolean {
  const both = XCR0.BNDREGS | XCR0.BNDCSR;
  return vmx.ops.mpx_supported() && (vmx.vmcs.processor.readXcr0() & both) === both;
}

const hasRdtscp = ({ kvm }: VcpuVmx, vcpu: Vcpu, { hostInitiated }: MsrAccess): boolean =>
  hostInitiated || kvm.guestCpuidHas(vcpu, "RDTSCP");

const KERNEL_GS_BASE: VmxMsrRow = {
  index: MSR.IA32_KERNEL_GS_BASE,
  passThrough: "long-mode",
  read(vcpu) {
    loadHostState(vcpu);
    return toVmx(vcpu).guestKernelGsBase;
  },
  write(vcpu, { data }) {
    loadHostState(vcpu);
    toVmx(vcpu).guestKernelGsBase = data;
    return false;
  },
  reset(vcpu) {
    loadHostState(vcpu);
    toVmx(vcpu).guestKernelGsBase = 0n;
  },
};

/** The core decides what it takes, and the op `set_efer` how it is switched. */
const EFER: VmxMsrRow = {
  index: MSR.IA32_EFER,
  shared: true,
  read: (vcpu, msr) => (toVmx(vcpu).kvm.getMsrCommon(vcpu, msr) ? undefined : msr.data),
  write: (vcpu, msr) => toVmx(vcpu).kvm.setMsrCommon(vcpu, msr),
};

const TIME_STAMP_COUNTER: VmxMsrRow = {
  index: MSR.IA32_TIME_STAMP_COUNTER,
  read(vcpu) {
    const { vmcs } = toVmx(vcpu);
    return BigInt.asUintN(64, vmcs.processor.rdtsc() + vmcs.read(VMCS.TSC_OFFSET));
  },
  write(vcpu, msr) {
    toVmx(vcpu).kvm.writeTsc(vcpu, msr);
    return false;
  },
};

/** The core keeps it, and says what it accepts; the VMCS has a copy where entries load it. */
const PAT: VmxMsrRow = {
  index: MSR.IA32_PAT,
  read: (vcpu, msr) => (toVmx(vcpu).kvm.getMsrCommon(vcpu, msr) ? undefined : msr.data),
  write(vcpu, msr) {
    if (toVmx(vcpu).kvm.setMsrCommon(vcpu, msr)) return true;
    loadPat(vcpu);
    return false;
  },
  reset: loadPat,
};

function loadPat(vcpu: Vcpu): void {
  const { kvm, vmcs, intel } = toVmx(vcpu);
  const pat: MsrAccess = { index: MSR.IA32_PAT, data: 0n, hostInitiated: true };
  if ((intel.config.vmEntry & VM_ENTRY.LOAD_IA32_PAT) === 0 || kvm.getMsrCommon(vcpu, pat)) return;
  vmcs.write(VMCS.GUEST_IA32_PAT, pat.data);
}

const FEATURES: VmxMsrRow = {
  index: MSR.IA32_FEATURE_CONTROL,
  read: (vcpu) => toVmx(vcpu).featureControl,
  write(vcpu, { data, hostInitiated }) {
    const vmx = toVmx(vcpu);
    const locked = (vmx.featureControl & FEATURE_CONTROL.LOCKED) !== 0n && !hostInitiated;
    if (locked || (data & ~vmx.featureControlValidBits) !== 0n) return true;
    vmx.featureControl = data;
    return false;
  },
  reset: (vcpu) => void (toVmx(vcpu).featureControl = 0n),
};

const XSS: VmxMsrRow = {
  index: MSR.IA32_XSS,
  read: (vcpu) => (toVmx(vcpu).ops.xsaves_supported() ? vcpu.arch.xss : undefined),
  write(vcpu, { data }) {
    // No supervisor state component is supported.
    if (!toVmx(vcpu).ops.xsaves_supported() || data !== 0n) return true;
    vcpu.arch.xss = data;
    switchXss(vcpu);
    return false;
  },
  reset(vcpu) {
    if (toVmx(vcpu).ops.xsaves_supported()) switchXss(vcpu);
  },
};

function switchXss(vcpu: Vcpu): void {
  const vmx = toVmx(vcpu);
  const { xss } = vcpu.arch;
  const { hostXss } = vmx.intel;
  if (xss === hostXss) clearAtomicSwitchMsr(vmx, MSR.IA32_XSS);
  else addAtomicSwitchMsr(vmx, MSR.IA32_XSS, xss, hostXss);
}

/** The capability MSRs of VMX: a guest without nested VMX has none of them. */
const CAPABILITY: readonly VmxMsrRow[] = Array.from(
  { length: MSR.IA32_VMX_VMFUNC - MSR.IA32_VMX_BASIC + 1 },
  (_, i): VmxMsrRow => ({ index: MSR.IA32_VMX_BASIC + i, read: () => undefined, write: () => true }),
);

/** Every MSR that the backend has a part in. Shared ones are in the order of their slots (vmx_msr_index). */
export const VMX_MSR_ROWS: readonly VmxMsrRow[] = [
  segmentBase(MSR.IA32_FS_BASE, VMCS.GUEST_FS_BASE),
  segmentBase(MSR.IA32_GS_BASE, VMCS.GUEST_GS_BASE),
  KERNEL_GS_BASE,
  shared(MSR.IA32_FMASK),
  shared(MSR.IA32_LSTAR),
  shared(MSR.IA32_CSTAR),
  EFER,
  shared(MSR.IA32_TSC_AUX, { offered: hasRdtscp, accepts: low32 }),
  shared(MSR.IA32_STAR),
  TIME_STAMP_COUNTER,
  vmcsField(MSR.IA32_SYSENTER_CS, VMCS.GUEST_SYSENTER_CS, 32, { passThrough: "every-mode" }),
  vmcsField(MSR.IA32_SYSENTER_ESP, VMCS.GUEST_SYSENTER_ESP, 64, { passThrough: "every-mode" }),
  vmcsField(MSR.IA32_SYSENTER_EIP, VMCS.GUEST_SYSENTER_EIP, 64, { passThrough: "every-mode" }),
  vmcsField(MSR.IA32_BNDCFGS, VMCS.GUEST_BNDCFGS, 64, { passThrough: "long-mode", offered: mpxSupported }),
  PAT,
  FEATURES,
  XSS,
  ...CAPABILITY,
];

const BY_INDEX: ReadonlyMap<number, VmxMsrRow> = new Map(VMX_MSR_ROWS.map((row) => [row.index, row]));

export function vmxMsrRow(index: number): VmxMsrRow | undefined {
  return BY_INDEX.get(index);
}

/** MSRs that are switched late, by slot of the core. */
export const SHARED_MSRS: readonly number[] = VMX_MSR_ROWS.filter((row) => row.shared === true).map(
  ({ index }) => index,
);
