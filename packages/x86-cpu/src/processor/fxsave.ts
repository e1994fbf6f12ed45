import { slot, type CpuState } from "@tapvisor/x86-isa";

/** Offsets in the FXSAVE image (SDM vol. 1, "FXSAVE Area"). */
const IMAGE = {
  FCW: 0,
  FSW: 2,
  FTW: 4,
  FOP: 6,
  FIP: 8,
  FDP: 16,
  MXCSR: 24,
  MXCSR_MASK: 28,
  ST0: 32,
  XMM0: 160,
} as const;
const IMAGE_BYTES = 416;
const REGISTER_BYTES = 16;
const ST_COUNT = 8;
const XMM_COUNT = 16;
const MXCSR_MASK = 0xffff;

const AT = {
  fcw: slot("fcw"),
  fsw: slot("fsw"),
  ftw: slot("ftw"),
  fop: slot("fop"),
  fip: slot("fip"),
  fdp: slot("fdp"),
  mxcsr: slot("mxcsr"),
  st0: slot("st0"),
  xmm0: slot("xmm0"),
} as const;

/** The tag word has two bits a register, 3 for an empty one; the image keeps one bit, set where it is not empty. */
function abridge(tags: number): number {
  let bits = 0;
  for (let n = 0; n < ST_COUNT; n++) if (((tags >> (n * 2)) & 3) !== 3) bits |= 1 << n;
  return bits;
}

/** A register that is not empty is tagged valid: whoever needs to know better looks at its value. */
function expand(bits: number): number {
  let tags = 0;
  for (let n = 0; n < ST_COUNT; n++) if (((bits >> n) & 1) === 0) tags |= 3 << (n * 2);
  return tags;
}

const check = (image: Uint8Array): DataView => {
  if (image.length < IMAGE_BYTES) throw new RangeError(`an FXSAVE image of ${image.length} bytes is too short`);
  return new DataView(image.buffer, image.byteOffset, image.byteLength);
};

/** Store x87, MMX and SSE registers as FXSAVE64 does. */
export function saveFxsave(state: CpuState, into: Uint8Array): void {
  const image = check(into);
  const { view } = state;
  image.setUint16(IMAGE.FCW, view.getUint16(AT.fcw, true), true);
  image.setUint16(IMAGE.FSW, view.getUint16(AT.fsw, true), true);
  image.setUint16(IMAGE.FTW, abridge(view.getUint16(AT.ftw, true)), true);
  image.setUint16(IMAGE.FOP, view.getUint16(AT.fop, true), true);
  image.setBigUint64(IMAGE.FIP, view.getBigUint64(AT.fip, true), true);
  image.setBigUint64(IMAGE.FDP, view.getBigUint64(AT.fdp, true), true);
  image.setUint32(IMAGE.MXCSR, view.getUint32(AT.mxcsr, true), true);
  image.setUint32(IMAGE.MXCSR_MASK, MXCSR_MASK, true);
  const bytes = new Uint8Array(state.buffer, state.base);
  into.set(bytes.subarray(AT.st0, AT.st0 + ST_COUNT * REGISTER_BYTES), IMAGE.ST0);
  into.set(bytes.subarray(AT.xmm0, AT.xmm0 + XMM_COUNT * REGISTER_BYTES), IMAGE.XMM0);
}

/** Load what {@link saveFxsave} stored, as FXRSTOR64 does. */
export function loadFxsave(state: CpuState, from: Uint8Array): void {
  const image = check(from);
  const { view } = state;
  view.setUint16(AT.fcw, image.getUint16(IMAGE.FCW, true), true);
  view.setUint16(AT.fsw, image.getUint16(IMAGE.FSW, true), true);
  view.setUint16(AT.ftw, expand(image.getUint16(IMAGE.FTW, true)), true);
  view.setUint16(AT.fop, image.getUint16(IMAGE.FOP, true), true);
  view.setBigUint64(AT.fip, image.getBigUint64(IMAGE.FIP, true), true);
  view.setBigUint64(AT.fdp, image.getBigUint64(IMAGE.FDP, true), true);
  view.setUint32(AT.mxcsr, image.getUint32(IMAGE.MXCSR, true) & MXCSR_MASK, true);
  const bytes = new Uint8Array(state.buffer, state.base);
  bytes.set(from.subarray(IMAGE.ST0, IMAGE.ST0 + ST_COUNT * REGISTER_BYTES), AT.st0);
  bytes.set(from.subarray(IMAGE.XMM0, IMAGE.XMM0 + XMM_COUNT * REGISTER_BYTES), AT.xmm0);
}
