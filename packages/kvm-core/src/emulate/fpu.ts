import { FX_IMAGE, MXCSR_MASK, loadX87, loadXmm, mxcsr, setMxcsr, storeX87, storeXmm } from "@tapvisor/x86-isa";
import type { EmulatedRegisters } from "./registers.js";

const XMM_COUNT = 16;

/** Bring the guest's x87 and SSE registers into the evaluator's state, from the processor that has them or the image. */
export function loadFpuState({ vcpu, state }: Pick<EmulatedRegisters, "vcpu" | "state">): void {
  const { guestFpu } = vcpu.arch;
  vcpu.fpuProcessor?.saveFpu(guestFpu);
  loadX87(state, guestFpu, true);
  setMxcsr(state, viewOf(guestFpu).getUint32(FX_IMAGE.MXCSR, true) & MXCSR_MASK);
  loadXmm(state, guestFpu, XMM_COUNT);
}

/** Put back what {@link loadFpuState} brought. */
export function storeFpuState({ vcpu, state }: Pick<EmulatedRegisters, "vcpu" | "state">): void {
  const { guestFpu } = vcpu.arch;
  storeX87(state, guestFpu, true);
  viewOf(guestFpu).setUint32(FX_IMAGE.MXCSR, mxcsr(state), true);
  storeXmm(state, guestFpu, XMM_COUNT);
  vcpu.fpuProcessor?.loadFpu(guestFpu);
}

const viewOf = (image: Uint8Array): DataView => new DataView(image.buffer, image.byteOffset, image.length);
