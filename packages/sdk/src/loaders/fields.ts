import { ImageError } from "./image.js";

/** Little-endian fields of a file; one that lies beyond its end is named in the error. */
export class Fields {
  readonly #view: DataView;

  constructor(readonly bytes: Uint8Array) {
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  u16(offset: number, field: string): number {
    this.#check(offset, 2, field);
    return this.#view.getUint16(offset, true);
  }

  u32(offset: number, field: string): number {
    this.#check(offset, 4, field);
    return this.#view.getUint32(offset, true);
  }

  u64(offset: number, field: string): bigint {
    this.#check(offset, 8, field);
    return this.#view.getBigUint64(offset, true);
  }

  /** `length` bytes at `offset`, not a copy. */
  slice(offset: number, length: number, field: string): Uint8Array {
    this.#check(offset, length, field);
    return this.bytes.subarray(offset, offset + length);
  }

  #check(offset: number, length: number, field: string): void {
    if (offset + length > this.bytes.length) {
      throw new ImageError(
        `end of ${field}`,
        offset + length,
        `must lie within the file of ${this.bytes.length} bytes`,
      );
    }
  }
}
