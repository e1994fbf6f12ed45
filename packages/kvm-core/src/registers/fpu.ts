import { REQUEST } from "../contract/index.js";
import { makeRequest } from "../requests.js";
import type { KvmVcpu } from "../vcpu.js";

/** Exits without an FPU use after which the guest loses it again, with lazy FPU switching. */
const LAZY_FPU_EXITS = 5;

/** kvm_load_guest_fpu. */
export function loadGuestFpu(vcpu: KvmVcpu): void {
  const { arch } = vcpu;
  if (arch.guestFpuLoaded) return;
  arch.guestFpuLoaded = true;
  const processor = vcpu.processor();
  processor.saveFpu(vcpu.hostFpu);
  processor.loadFpu(arch.guestFpu);
}

/** kvm_put_guest_fpu. */
export function putGuestFpu(vcpu: KvmVcpu): void {
  const { arch } = vcpu;
  if (!arch.guestFpuLoaded) {
    vcpu.fpuCounter = 0;
    return;
  }
  arch.guestFpuLoaded = false;
  const processor = vcpu.processor();
  processor.saveFpu(arch.guestFpu);
  processor.loadFpu(vcpu.hostFpu);
  if (!vcpu.kvm.host.options.eagerFpu) {
    // An 8-bit counter, as in Linux: a guest that uses the FPU in bursts falls back to loading it on demand.
    vcpu.fpuCounter = (vcpu.fpuCounter + 1) & 0xff;
    if (vcpu.fpuCounter < LAZY_FPU_EXITS) makeRequest(vcpu, REQUEST.DEACTIVATE_FPU);
  }
}

/** fx_init: FCW, MXCSR as FNINIT and power-on leave them, in FXSAVE format (SDM vol. 2, "FXSAVE"). */
export function initFpuImage(image: Uint8Array): void {
  image.fill(0);
  const view = new DataView(image.buffer, image.byteOffset);
  view.setUint16(0, 0x37f, true);
  view.setUint32(24, 0x1f80, true);
}
