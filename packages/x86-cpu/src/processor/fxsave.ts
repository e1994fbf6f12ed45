import {
  FX_IMAGE,
  MXCSR_MASK,
  loadX87,
  loadXmm,
  mxcsr,
  setMxcsr,
  storeX87,
  storeXmm,
  type CpuState,
} from "@tapvisor/x86-isa";

const XMM_COUNT = 16;

function viewOf(image: Uint8Array): DataView {
  if (image.length < FX_IMAGE.END) throw new RangeError(`an FXSAVE image of ${image.length} bytes is too short`);
  return new DataView(image.buffer, image.byteOffset, image.length);
}

/** Store the x87, MMX and SSE registers of a processor as FXSAVE64 in root mode does. */
export function saveFpu(state: CpuState, into: Uint8Array): void {
  const view = viewOf(into);
  storeX87(state, into, true);
  view.setUint32(FX_IMAGE.MXCSR, mxcsr(state), true);
  view.setUint32(FX_IMAGE.MXCSR_MASK, MXCSR_MASK, true);
  storeXmm(state, into, XMM_COUNT);
}

/** Load them as FXRSTOR64 does; bits that MXCSR does not have are left out. */
export function loadFpu(state: CpuState, from: Uint8Array): void {
  const view = viewOf(from);
  loadX87(state, from, true);
  setMxcsr(state, view.getUint32(FX_IMAGE.MXCSR, true) & MXCSR_MASK);
  loadXmm(state, from, XMM_COUNT);
}
