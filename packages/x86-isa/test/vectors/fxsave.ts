import { slot, type CpuState } from "../../src/index.js";
import { chooseScale, writeF80, writeLanes, type Lane, type Scale } from "./floats.js";
import type { Rng } from "./rng.js";

/** x87, MMX and SSE state as FXSAVE stores it (SDM vol. 1, "FXSAVE Area"), up to the last XMM register. */
export const FX_BYTES = 416;
export const FX = { FCW: 0, FSW: 2, FTW: 4, FOP: 6, MXCSR: 24, MXCSR_MASK: 28, ST0: 32, XMM0: 160 } as const;

const ES = 0x80;
const BUSY = 0x8000;
const EXCEPTIONS = 0x3f;
export const TOP_SHIFT = 11;

const MXCSR_DEFAULT = 0x1f80;
const FCW_DEFAULT = 0x37f;

/** After FNINIT and with all vector registers zero. */
export const INITIAL_FX: Uint8Array = (() => {
  const image = new Uint8Array(FX_BYTES);
  const view = new DataView(image.buffer);
  view.setUint16(FX.FCW, FCW_DEFAULT, true);
  view.setUint32(FX.MXCSR, MXCSR_DEFAULT, true);
  return image;
})();

/** Mostly as compilers leave it; else any rounding, DAZ, FTZ, sticky flags, and now and then unmasked exceptions. */
export function randomMxcsr(rng: Rng): number {
  const sticky = rng.pick([0, 0x20, rng.below(64)]);
  const kind = rng.below(8);
  if (kind < 3) return MXCSR_DEFAULT | sticky;
  const rounding = rng.below(4) << 13;
  const flush = kind === 3 ? 0 : (rng.chance(1, 3) ? 0x8000 : 0) | (rng.chance(1, 3) ? 0x40 : 0);
  const masks =
    kind < 6 ? MXCSR_DEFAULT : rng.chance(1, 2) ? MXCSR_DEFAULT & ~(0x80 << rng.below(6)) : rng.below(64) << 7;
  return masks | rounding | flush | sticky;
}

/** Bits 6, 7 and 13 to 15 of the control word have no meaning; bit 6 always reads as one. */
export function randomControlWord(rng: Rng): number {
  if (rng.chance(1, 4)) return FCW_DEFAULT;
  const masks = rng.chance(3, 4) ? 0x3f : rng.below(64);
  const precision = rng.pick([3, 3, 2, 2, 0, 0, 1]) << 8;
  return 0x40 | masks | precision | (rng.below(4) << 10) | (rng.chance(1, 8) ? 0x1000 : 0);
}

/** The summary of exceptions follows from flags and masks. */
export function summarize(status: number, control: number): number {
  const pending = (status & ~control & EXCEPTIONS) !== 0;
  return (status & ~(ES | BUSY)) | (pending ? ES | BUSY : 0);
}

export function randomStatusWord(rng: Rng, control: number): number {
  let status = rng.u32() & 0x7f00;
  if (rng.chance(1, 2)) status |= rng.u32() & 0x7f;
  // An exception that is pending lets next to nothing else happen.
  if (!rng.chance(1, 8)) status &= control | ~EXCEPTIONS;
  if (rng.chance(1, 4)) status &= ~0x40;
  return summarize(status, control);
}

/** One bit a physical register, set where it is not empty. */
export function randomTags(rng: Rng): number {
  return rng.pick([0xff, 0xff, 0xff, 0, rng.below(256), rng.below(256)]);
}

/** The whole state at random, its registers filled with lanes of the given kinds. */
export function randomFx(rng: Rng, lanes: readonly Lane[], scale: Scale = chooseScale(rng)): Uint8Array {
  const image = new Uint8Array(FX_BYTES);
  const view = new DataView(image.buffer);
  const control = randomControlWord(rng);
  view.setUint16(FX.FCW, control, true);
  view.setUint16(FX.FSW, randomStatusWord(rng, control), true);
  image[FX.FTW] = randomTags(rng);
  view.setUint32(FX.MXCSR, randomMxcsr(rng), true);
  for (let n = 0; n < 8; n++) {
    const at = FX.ST0 + n * 16;
    // What MMX left there has an exponent of all ones.
    if (lanes.includes("f80") && !rng.chance(1, 12)) writeF80(rng, scale, view, at);
    else {
      writeLanes(rng, rng.pick(lanes), scale, view, at);
      view.setUint32(at + 8, 0xffff, true);
      view.setUint32(at + 12, 0, true);
    }
  }
  for (let n = 0; n < 16; n++) writeLanes(rng, rng.pick(lanes), scale, view, FX.XMM0 + n * 16);
  return image;
}

const FCW = slot("fcw");
const FSW = slot("fsw");
const FTW = slot("ftw");
const MXCSR = slot("mxcsr");
const ST = slot("st0");
const XMM = slot("xmm0");

const topOf = (status: number): number => (status >> TOP_SHIFT) & 7;

/** The image holds ST(0) first, the state its registers in their physical order. */
export function loadFx(state: CpuState, image: Uint8Array): void {
  const { view } = state;
  const from = new DataView(image.buffer, image.byteOffset, image.byteLength);
  const bytes = new Uint8Array(state.buffer, state.base);
  const status = from.getUint16(FX.FSW, true);
  const top = topOf(status);
  view.setUint16(FCW, from.getUint16(FX.FCW, true), true);
  view.setUint16(FSW, status, true);
  for (let n = 0; n < 8; n++) {
    const at = FX.ST0 + n * 16;
    bytes.set(image.subarray(at, at + 16), ST + ((top + n) & 7) * 16);
  }
  view.setUint16(FTW, image[FX.FTW] ?? 0, true);
  view.setUint32(MXCSR, from.getUint32(FX.MXCSR, true), true);
  bytes.set(image.subarray(FX.XMM0, FX_BYTES), XMM);
}

/** What {@link loadFx} loads, read back. */
export function saveFx(state: CpuState): Uint8Array {
  const { view } = state;
  const image = new Uint8Array(FX_BYTES);
  const into = new DataView(image.buffer);
  const bytes = new Uint8Array(state.buffer, state.base);
  const status = view.getUint16(FSW, true);
  const top = topOf(status);
  into.setUint16(FX.FCW, view.getUint16(FCW, true), true);
  into.setUint16(FX.FSW, status, true);
  into.setUint16(FX.FTW, view.getUint16(FTW, true), true);
  for (let n = 0; n < 8; n++) {
    const at = ST + ((top + n) & 7) * 16;
    image.set(bytes.subarray(at, at + 10), FX.ST0 + n * 16);
  }
  into.setUint32(FX.MXCSR, view.getUint32(MXCSR, true), true);
  image.set(bytes.subarray(XMM, XMM + 256), FX.XMM0);
  return image;
}
