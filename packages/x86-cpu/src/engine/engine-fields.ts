import { ENGINE_BYTES } from "@tapvisor/x86-isa";

/**
 * The fields that an engine keeps beside the architectural state, by their `ENGINE_FIELD` offsets: what the generated
 * WebAssembly and its surroundings tell each other.
 */
export class EngineFields {
  readonly #words: Uint32Array;
  readonly #view: DataView;

  /** @param base offset in `buffer`, a multiple of 8 */
  constructor(buffer: ArrayBuffer, base: number) {
    this.#words = new Uint32Array(buffer, base, ENGINE_BYTES >> 2);
    this.#view = new DataView(buffer, base, ENGINE_BYTES);
  }

  get32(offset: number): number {
    return this.#words[offset >> 2] as number;
  }

  set32(offset: number, value: number): void {
    this.#words[offset >> 2] = value;
  }

  get64(offset: number): bigint {
    return this.#view.getBigUint64(offset, true);
  }

  set64(offset: number, value: bigint): void {
    this.#view.setBigUint64(offset, value, true);
  }
}
