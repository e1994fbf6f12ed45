import { CPUID, CPUID_LEAF, XCR0 } from "@tapvisor/x86-isa";
import type { KvmState } from "../state/kvm-state.js";
import { hostCpuid, hostHas } from "./host.js";

/** State components that guests may have: KVM_SUPPORTED_XCR0. */
const SUPPORTED =
  XCR0.X87 | XCR0.SSE | XCR0.AVX | XCR0.BNDREGS | XCR0.BNDCSR | XCR0.OPMASK | XCR0.ZMM_HI256 | XCR0.HI16_ZMM |
  XCR0.PKRU; // prettier-ignore
/** Legacy region and XSAVE header (SDM vol. 1, "XSAVE Area"). */
const HEADER_END = 512 + 64;

/** kvm_supported_xcr0. */
export function supportedXcr0(kvm: KvmState): bigint {
  const xcr0 = kvm.hostXcr0 & SUPPORTED;
  return kvm.ops.mpx_supported() ? xcr0 : xcr0 & ~(XCR0.BNDREGS | XCR0.BNDCSR);
}

/** xstate_required_size: bytes of an XSAVE area that holds the components of `xcr0`. */
export function xstateSize(kvm: KvmState, xcr0: bigint, compacted: boolean): number {
  let size = HEADER_END;
  if (!hostHas(kvm, CPUID.XSAVE)) return size;
  for (let component = 2; component < 63; component++) {
    if (((xcr0 >> BigInt(component)) & 1n) === 0n) continue;
    const { eax, ebx } = hostCpuid(kvm, CPUID_LEAF.XSAVE, component);
    const offset = compacted ? size : ebx;
    size = Math.max(size, offset + eax);
  }
  return size;
}
