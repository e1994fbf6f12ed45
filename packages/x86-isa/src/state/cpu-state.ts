import { ARITHMETIC_FLAGS, decodeFlags, decodeFlags32, encodeFlags, encodeFlags32 } from "./flags.js";
import { GPR_NAMES, SEGMENT_NAMES, STATE_BYTES, slot, type SegmentName } from "./layout.js";

const FLAG_RESULT = slot("flagResult");
const FLAG_AUX = slot("flagAux");
const FLAGS_REST = slot("flagsRest");
const GPR = slot(GPR_NAMES[0]);
/** General registers, RIP and the flags lie before the scratch slots. */
const CHECKPOINT_WORDS = slot("t0") >> 2;
const SEGMENT = slot("es.base");
const SEGMENT_BYTES = slot("cs.base") - SEGMENT;

/** A segment register with its hidden part. `rights` has the format of the VMCS access-rights fields. */
export interface SegmentState {
  selector: number;
  base: bigint;
  limit: number;
  rights: number;
}

/** Typed access to the bytes of one processor's architectural state. */
export class CpuState {
  /** The state's bytes; offsets are those of the layout. */
  readonly view: DataView;
  /** The same bytes as words, for what must not make a bigint. */
  readonly words: Uint32Array;
  readonly #checkpoint = new Uint32Array(CHECKPOINT_WORDS);

  /** @param base offset of the state in `buffer`, a multiple of 16 */
  constructor(
    readonly buffer: ArrayBufferLike = new ArrayBuffer(STATE_BYTES),
    readonly base = 0,
  ) {
    this.view = new DataView(buffer, base, STATE_BYTES);
    this.words = new Uint32Array(buffer, base, STATE_BYTES >> 2);
  }

  get64(offset: number): bigint {
    return this.view.getBigUint64(offset, true);
  }

  set64(offset: number, value: bigint): void {
    this.view.setBigUint64(offset, value, true);
  }

  get32(offset: number): number {
    return this.words[offset >> 2] as number;
  }

  set32(offset: number, value: number): void {
    this.words[offset >> 2] = value;
  }

  /** Copy a field of 64 bits to another, without a bigint. */
  copy64(from: number, to: number): void {
    const { words } = this;
    words[to >> 2] = words[from >> 2] as number;
    words[(to >> 2) + 1] = words[(from >> 2) + 1] as number;
  }

  /** A general register by its encoding, 0 (RAX) to 15 (R15). */
  gpr(index: number): bigint {
    return this.get64(GPR + index * 8);
  }

  setGpr(index: number, value: bigint): void {
    this.set64(GPR + index * 8, value);
  }

  /** Remember general registers, RIP and flags, so that {@link rollBack} finds them. There is one such memory. */
  checkpoint(): void {
    const { words } = this;
    for (let i = 0; i < CHECKPOINT_WORDS; i++) this.#checkpoint[i] = words[i] as number;
  }

  rollBack(): void {
    this.words.set(this.#checkpoint);
  }

  /** RFLAGS, materialized. */
  get rflags(): bigint {
    return this.get64(FLAGS_REST) | decodeFlags(this.get64(FLAG_RESULT), this.get64(FLAG_AUX));
  }

  set rflags(value: bigint) {
    const { flagResult, flagAux } = encodeFlags(value);
    this.set64(FLAG_RESULT, flagResult);
    this.set64(FLAG_AUX, flagAux);
    this.set64(FLAGS_REST, (value & ~ARITHMETIC_FLAGS) | 2n);
  }

  /** The low half of RFLAGS, which is all there is of it: for what must not make a bigint. */
  get eflags(): number {
    const words = this.words;
    return (
      ((words[FLAGS_REST >> 2] as number) |
        decodeFlags32(
          words[FLAG_RESULT >> 2] as number,
          words[(FLAG_RESULT >> 2) + 1] as number,
          words[FLAG_AUX >> 2] as number,
          words[(FLAG_AUX >> 2) + 1] as number,
        )) >>>
      0
    );
  }

  set eflags(value: number) {
    const words = this.words;
    encodeFlags32(value, words, FLAG_RESULT >> 2, FLAG_AUX >> 2);
    words[FLAGS_REST >> 2] = (value & ~Number(ARITHMETIC_FLAGS)) | 2;
    words[(FLAGS_REST >> 2) + 1] = 0;
  }

  segment(name: SegmentName): SegmentState {
    const at = SEGMENT + SEGMENT_NAMES.indexOf(name) * SEGMENT_BYTES;
    return {
      base: this.get64(at),
      limit: this.get32(at + 8),
      rights: this.get32(at + 12),
      selector: this.get32(at + 16),
    };
  }

  setSegment(name: SegmentName, value: SegmentState): void {
    const at = SEGMENT + SEGMENT_NAMES.indexOf(name) * SEGMENT_BYTES;
    this.set64(at, value.base);
    this.set32(at + 8, value.limit);
    this.set32(at + 12, value.rights);
    this.set32(at + 16, value.selector);
  }
}
