import { type LogicalProcessor, REQUEST } from "../contract/index.js";
import { makeRequest } from "../requests.js";
import type { KvmVcpu } from "../vcpu.js";

/** Exits without an FPU use after which the guest loses it again, with lazy FPU switching. */
const LAZY_FPU_EXITS = 5;

/**
 * Whose guest's FPU state is in a processor's registers. As in Linux (fpregs_owner_ctx) it stays there when the vCPU
 * leaves the processor, until another one's is loaded or somebody asks for the image; and the host's meanwhile waits.
 */
const owners = new WeakMap<LogicalProcessor, { vcpu: KvmVcpu; readonly host: Uint8Array }>();

/** kvm_load_guest_fpu. */
export function loadGuestFpu(vcpu: KvmVcpu): void {
  const { arch } = vcpu;
  if (arch.guestFpuLoaded) return;
  arch.guestFpuLoaded = true;
  const processor = vcpu.processor();
  if (vcpu.fpuProcessor === processor) return;
  storeGuestFpu(vcpu);
  const owner = owners.get(processor);
  if (owner === undefined) {
    const host = new Uint8Array(arch.guestFpu.length);
    processor.saveFpu(host);
    owners.set(processor, { vcpu, host });
  } else {
    processor.saveFpu(owner.vcpu.arch.guestFpu);
    owner.vcpu.fpuProcessor = undefined;
    owner.vcpu = vcpu;
  }
  processor.loadFpu(arch.guestFpu);
  vcpu.fpuProcessor = processor;
}

/** Have the guest's FPU state in `arch.guestFpu`, and the host's in the processor again. */
export function storeGuestFpu(vcpu: KvmVcpu): void {
  const { fpuProcessor: processor } = vcpu;
  if (processor === undefined) return;
  processor.saveFpu(vcpu.arch.guestFpu);
  const owner = owners.get(processor);
  if (owner) processor.loadFpu(owner.host);
  owners.delete(processor);
  vcpu.fpuProcessor = undefined;
  vcpu.arch.guestFpuLoaded = false;
}

/** kvm_put_guest_fpu. */
export function putGuestFpu(vcpu: KvmVcpu): void {
  const { arch } = vcpu;
  if (!arch.guestFpuLoaded) {
    vcpu.fpuCounter = 0;
    return;
  }
  arch.guestFpuLoaded = false;
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
