import { CPUID, CR4, XCR0 } from "@tapvisor/x86-isa";
import { KvmError, type Xcr } from "../contract/index.js";
import { updateCpuid } from "../cpuid/update.js";
import { injectGp } from "../events/exceptions.js";
import { hostHas } from "../cpuid/host.js";
import { processorOf, type VcpuState } from "../state/vcpu-state.js";

const AVX512 = XCR0.OPMASK | XCR0.ZMM_HI256 | XCR0.HI16_ZMM;

/** SDM vol. 2, "XSETBV": which combinations of state components XCR0 takes. */
function validXcr0(vcpu: VcpuState, xcr0: bigint): boolean {
  if ((xcr0 & XCR0.X87) === 0n) return false;
  if ((xcr0 & XCR0.AVX) !== 0n && (xcr0 & XCR0.SSE) === 0n) return false;
  if ((xcr0 & ~(vcpu.arch.guestSupportedXcr0 | XCR0.X87)) !== 0n) return false;
  if (((xcr0 & XCR0.BNDREGS) === 0n) !== ((xcr0 & XCR0.BNDCSR) === 0n)) return false;
  if ((xcr0 & AVX512) !== 0n) return (xcr0 & XCR0.AVX) !== 0n && (xcr0 & AVX512) === AVX512;
  return true;
}

/** __kvm_set_xcr: true = refused. */
export function setXcrOnly(vcpu: VcpuState, index: number, value: bigint): boolean {
  const { arch } = vcpu;
  if (index !== 0 || !validXcr0(vcpu, value)) return true;
  const changed = value ^ arch.xcr0;
  arch.xcr0 = value;
  if ((changed & ~(XCR0.X87 | XCR0.SSE)) !== 0n) updateCpuid(vcpu);
  return false;
}

/** kvm_set_xcr: true = refused, and #GP(0) is queued. */
export function setXcr(vcpu: VcpuState, index: number, value: bigint): boolean {
  if (vcpu.kvm.ops.get_cpl(vcpu) === 0 && !setXcrOnly(vcpu, index, value)) return false;
  injectGp(vcpu, 0);
  return true;
}

/** KVM_GET_XCRS. */
export function getXcrs(vcpu: VcpuState): readonly Xcr[] {
  return hostHas(vcpu.kvm, CPUID.XSAVE) ? [{ index: 0, value: vcpu.arch.xcr0 }] : [];
}

/** KVM_SET_XCRS; registers other than XCR0 are passed over. */
export function setXcrs(vcpu: VcpuState, xcrs: readonly Xcr[]): void {
  const xcr0 = xcrs.find(({ index }) => index === 0);
  if (!hostHas(vcpu.kvm, CPUID.XSAVE)) throw new KvmError("EINVAL", "KVM_SET_XCRS", "the processor has no XSAVE");
  if (xcr0 !== undefined && setXcrOnly(vcpu, 0, xcr0.value)) {
    throw new KvmError("EINVAL", "KVM_SET_XCRS", `XCR0 refuses 0x${xcr0.value.toString(16)}`);
  }
}

/** kvm_load_guest_xcr0: the guest's XCR0 is in the processor while it runs with CR4.OSXSAVE. */
export function loadGuestXcr0(vcpu: VcpuState): void {
  const { arch } = vcpu;
  // Comparing with the value seen last makes no bigint; masking at every entry would.
  if (arch.cr4 !== vcpu.cr4AtLastEntry) {
    vcpu.cr4AtLastEntry = arch.cr4;
    vcpu.osxsave = (arch.cr4 & CR4.OSXSAVE) !== 0n;
  }
  if (!vcpu.osxsave || vcpu.guestXcr0Loaded) return;
  if (arch.xcr0 !== vcpu.kvm.hostXcr0) processorOf(vcpu).writeXcr0(arch.xcr0);
  vcpu.guestXcr0Loaded = true;
}

/** kvm_put_guest_xcr0. */
export function putGuestXcr0(vcpu: VcpuState): void {
  if (!vcpu.guestXcr0Loaded) return;
  if (vcpu.arch.xcr0 !== vcpu.kvm.hostXcr0) processorOf(vcpu).writeXcr0(vcpu.kvm.hostXcr0);
  vcpu.guestXcr0Loaded = false;
}
