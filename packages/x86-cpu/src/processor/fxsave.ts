import { slot, type CpuState } from "@tapvisor/x86-isa";

/** Offsets in the FXSAVE image (SDM vol. 1, "FXSAVE Area"). */
const IMAGE = { FTW: 4, MXCSR: 24, MXCSR_MASK: 28, ST0: 32, XMM0: 160 } as const;
const IMAGE_BYTES = 416;
const REGISTER_BYTES = 16;
const ST_COUNT = 8;
const XMM_COUNT = 16;
const MXCSR_MASK = 0xffff;

/** FCW, FSW, FTW, FOP, FIP and FDP follow each other in the state as they do in the image. */
const HEADER_BYTES = 24;
if (slot("fdp") + 8 - slot("fcw") !== HEADER_BYTES)
  throw new RangeError("the x87 fields of the state are not contiguous");
const FTW = slot("ftw");
const MXCSR = slot("mxcsr");

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

function check(image: Uint8Array): void {
  if (image.length < IMAGE_BYTES) throw new RangeError(`an FXSAVE image of ${image.length} bytes is too short`);
}

/** The x87, MMX and SSE registers of a processor, as FXSAVE64 and FXRSTOR64 move them. */
export class FxsaveArea {
  readonly #header: Uint8Array;
  readonly #st: Uint8Array;
  readonly #xmm: Uint8Array;

  constructor(private readonly state: CpuState) {
    const { buffer, base } = state;
    this.#header = new Uint8Array(buffer, base + slot("fcw"), HEADER_BYTES);
    this.#st = new Uint8Array(buffer, base + slot("st0"), ST_COUNT * REGISTER_BYTES);
    this.#xmm = new Uint8Array(buffer, base + slot("xmm0"), XMM_COUNT * REGISTER_BYTES);
  }

  save(into: Uint8Array): void {
    check(into);
    const { state } = this;
    into.set(this.#header);
    into[IMAGE.FTW] = abridge(state.view.getUint16(FTW, true));
    into[IMAGE.FTW + 1] = 0;
    putWord(into, IMAGE.MXCSR, state.get32(MXCSR));
    putWord(into, IMAGE.MXCSR_MASK, MXCSR_MASK);
    into.set(this.#st, IMAGE.ST0);
    into.set(this.#xmm, IMAGE.XMM0);
  }

  load(from: Uint8Array): void {
    check(from);
    const { state } = this;
    for (let i = 0; i < HEADER_BYTES; i++) this.#header[i] = from[i] as number;
    state.view.setUint16(FTW, expand(from[IMAGE.FTW] as number), true);
    state.set32(MXCSR, getWord(from, IMAGE.MXCSR) & MXCSR_MASK);
    this.#st.set(from.subarray(IMAGE.ST0, IMAGE.XMM0));
    this.#xmm.set(from.subarray(IMAGE.XMM0, IMAGE_BYTES));
  }
}

function putWord(bytes: Uint8Array, at: number, value: number): void {
  for (let i = 0; i < 4; i++) bytes[at + i] = value >>> (8 * i);
}

function getWord(bytes: Uint8Array, at: number): number {
  let value = 0;
  for (let i = 3; i >= 0; i--) value = (value << 8) | (bytes[at + i] as number);
  return value;
}
