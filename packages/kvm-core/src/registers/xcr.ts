import { CR4, XCR0 } from "@tapvisor/x86-isa";
import { updateCpuid } from "../cpuid/update.js";
import { injectGp } from "../events/exceptions.js";
import type { KvmVcpu } from "../vcpu.js";

const AVX512 = XCR0.OPMASK | XCR0.ZMM_HI256 | XCR0.HI16_ZMM;

/** SDM vol. 2, "XSETBV": which combinations of state components XCR0 takes. */
function validXcr0(vcpu: KvmVcpu, xcr0: bigint): boolean {
  if ((xcr0 & XCR0.X87) === 0n) return false;
  if ((xcr0 & XCR0.AVX) !== 0n && (xcr0 & XCR0.SSE) === 0n) return false;
  if ((xcr0 & ~(vcpu.arch.guestSupportedXcr0 | XCR0.X87)) !== 0n) return false;
  if (((xcr0 & XCR0.BNDREGS) === 0n) !== ((xcr0 & XCR0.BNDCSR) === 0n)) return false;
  if ((xcr0 & AVX512) !== 0n) return (xcr0 & XCR0.AVX) !== 0n && (xcr0 & AVX512) === AVX512;
  return true;
}

/** kvm_set_xcr: true = refused, and #GP(0) is queued. */
export function setXcr(vcpu: KvmVcpu, index: number, value: bigint): boolean {
  const { arch } = vcpu;
  if (vcpu.kvm.ops.get_cpl(vcpu) !== 0 || index !== 0 || !validXcr0(vcpu, value)) {
    injectGp(vcpu, 0);
    return true;
  }
  const changed = value ^ arch.xcr0;
  arch.xcr0 = value;
  if ((changed & ~(XCR0.X87 | XCR0.SSE)) !== 0n) updateCpuid(vcpu);
  return false;
}

/** kvm_load_guest_xcr0: the guest's XCR0 is in the processor while it runs with CR4.OSXSAVE. */
export function loadGuestXcr0(vcpu: KvmVcpu): void {
  const { arch } = vcpu;
  // Comparing with the value seen last makes no bigint; masking at every entry would.
  if (arch.cr4 !== vcpu.cr4AtLastEntry) {
    vcpu.cr4AtLastEntry = arch.cr4;
    vcpu.osxsave = (arch.cr4 & CR4.OSXSAVE) !== 0n;
  }
  if (!vcpu.osxsave || vcpu.guestXcr0Loaded) return;
  if (arch.xcr0 !== vcpu.kvm.hostXcr0) vcpu.processor().writeXcr0(arch.xcr0);
  vcpu.guestXcr0Loaded = true;
}

/** kvm_put_guest_xcr0. */
export function putGuestXcr0(vcpu: KvmVcpu): void {
  if (!vcpu.guestXcr0Loaded) return;
  if (vcpu.arch.xcr0 !== vcpu.kvm.hostXcr0) vcpu.processor().writeXcr0(vcpu.kvm.hostXcr0);
  vcpu.guestXcr0Loaded = false;
}
