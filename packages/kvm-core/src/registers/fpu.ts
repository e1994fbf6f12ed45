import { FCW_RESET, FX_IMAGE, FX_IMAGE_BYTES, MXCSR_MASK, MXCSR_RESET, XCR0 } from "@tapvisor/x86-isa";
import { KvmError, type LogicalProcessor, REQUEST } from "../contract/index.js";
import { supportedXcr0 } from "../cpuid/xstate.js";
import { makeRequest } from "../requests.js";
import { processorOf, type VcpuState } from "../state/vcpu-state.js";

/** Exits without an FPU use after which the guest loses it again, with lazy FPU switching. */
const LAZY_FPU_EXITS = 5;

/**
 * Whose guest's FPU state is in a processor's registers. As in Linux (fpregs_owner_ctx) it stays there when the vCPU
 * leaves the processor, until another one's is loaded or somebody asks for the image; and the host's meanwhile waits.
 */
const owners = new WeakMap<LogicalProcessor, { vcpu: VcpuState; readonly host: Uint8Array }>();

/** kvm_load_guest_fpu. */
export function loadGuestFpu(vcpu: VcpuState): void {
  const { arch } = vcpu;
  if (arch.guestFpuLoaded) return;
  arch.guestFpuLoaded = true;
  const processor = processorOf(vcpu);
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
export function storeGuestFpu(vcpu: VcpuState): void {
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
export function putGuestFpu(vcpu: VcpuState): void {
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

/** Bytes of struct kvm_xsave. The XSAVE header with XSTATE_BV follows the FXSAVE image. */
const XSAVE_BYTES = 4096;

const viewOf = (image: Uint8Array): DataView => new DataView(image.buffer, image.byteOffset, image.length);

/** fx_init: FCW, MXCSR as FNINIT and power-on leave them, in FXSAVE format (SDM vol. 2, "FXSAVE"). */
export function initFpuImage(image: Uint8Array): void {
  image.fill(0);
  initX87Image(image);
  viewOf(image).setUint32(FX_IMAGE.MXCSR, MXCSR_RESET, true);
}

function initX87Image(image: Uint8Array): void {
  image.fill(0, 0, FX_IMAGE.MXCSR);
  image.fill(0, FX_IMAGE.ST0, FX_IMAGE.XMM0);
  viewOf(image).setUint16(FX_IMAGE.FCW, FCW_RESET, true);
}

/** KVM_GET_FPU. */
export function getFpu(vcpu: VcpuState): Uint8Array {
  storeGuestFpu(vcpu);
  return vcpu.arch.guestFpu.slice(0, FX_IMAGE_BYTES);
}

/** KVM_SET_FPU. */
export function setFpu(vcpu: VcpuState, image: Uint8Array): void {
  if (image.length !== FX_IMAGE_BYTES) {
    throw new KvmError("EINVAL", "KVM_SET_FPU", `${image.length} bytes: an FXSAVE image has ${FX_IMAGE_BYTES}`);
  }
  storeGuestFpu(vcpu);
  vcpu.arch.guestFpu.set(image);
}

/** KVM_GET_XSAVE. Both components are always said to be in use, which XSAVE may say of any. */
export function getXsave(vcpu: VcpuState): Uint8Array {
  storeGuestFpu(vcpu);
  const area = new Uint8Array(XSAVE_BYTES);
  area.set(vcpu.arch.guestFpu.subarray(0, FX_IMAGE_BYTES));
  viewOf(area).setBigUint64(FX_IMAGE_BYTES, XCR0.X87 | XCR0.SSE, true);
  return area;
}

/** KVM_SET_XSAVE. A component whose bit in XSTATE_BV is clear goes to its initial state. */
export function setXsave(vcpu: VcpuState, area: Uint8Array): void {
  const refuse = (why: string): never => {
    throw new KvmError("EINVAL", "KVM_SET_XSAVE", why);
  };
  if (area.length !== XSAVE_BYTES) refuse(`${area.length} bytes: struct kvm_xsave has ${XSAVE_BYTES}`);
  const view = viewOf(area);
  const present = view.getBigUint64(FX_IMAGE_BYTES, true);
  const allowed = supportedXcr0(vcpu.kvm) | XCR0.X87 | XCR0.SSE;
  if ((present & ~allowed) !== 0n)
    refuse(`XSTATE_BV is 0x${present.toString(16)}: guests may have 0x${allowed.toString(16)}`);
  const mxcsr = view.getUint32(FX_IMAGE.MXCSR, true);
  if ((mxcsr & ~MXCSR_MASK) !== 0)
    refuse(`MXCSR is 0x${mxcsr.toString(16)}: it has the bits 0x${MXCSR_MASK.toString(16)}`);
  storeGuestFpu(vcpu);
  const { guestFpu } = vcpu.arch;
  guestFpu.set(area.subarray(0, FX_IMAGE_BYTES));
  if ((present & XCR0.X87) === 0n) initX87Image(guestFpu);
  if ((present & XCR0.SSE) === 0n) guestFpu.fill(0, FX_IMAGE.XMM0, FX_IMAGE.END);
}
