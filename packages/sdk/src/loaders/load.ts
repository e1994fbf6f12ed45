import { isElf } from "./elf.js";
import { ImageError, type GuestImage, type ImageFormat } from "./image.js";
import { findMultibootHeader } from "./multiboot-header.js";
import { loadMultiboot, type MultibootOptions } from "./multiboot.js";
import { loadLongMode, loadRealMode, type RawOptions } from "./raw.js";

export interface LoadOptions extends MultibootOptions, RawOptions {
  /** Told by the file when absent. */
  readonly format?: ImageFormat;
}

/**
 * What a file is: a Multiboot header or an ELF header, or the signature of a boot sector. Raw 64-bit code cannot be
 * told from other bytes; it has to be asked for.
 */
export function detectFormat(bytes: Uint8Array): ImageFormat {
  if (isElf(bytes) || findMultibootHeader(bytes) !== undefined) return "multiboot";
  if (bytes[510] === 0x55 && bytes[511] === 0xaa) return "real";
  throw new ImageError(
    "format of the image",
    "unknown",
    "must be an ELF file or have a Multiboot header or a boot-sector signature; name the format of raw code",
  );
}

/** Load an image of any format that is known. Nothing is done to a guest: see `installImage`. */
export function loadImage(bytes: Uint8Array, options: LoadOptions): GuestImage {
  const format = options.format ?? detectFormat(bytes);
  switch (format) {
    case "multiboot":
      return loadMultiboot(bytes, options);
    case "real":
      return loadRealMode(bytes, options);
    case "long":
      return loadLongMode(bytes, options);
  }
}
