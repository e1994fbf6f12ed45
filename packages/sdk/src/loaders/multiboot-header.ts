import { Fields } from "./fields.js";
import { hex, ImageError, type ImageSegment } from "./image.js";

/** Multiboot Specification 0.6.96, "The layout of Multiboot header". */
export const MULTIBOOT_HEADER_MAGIC = 0x1badb002;
/** The header lies, 4-aligned, within so many bytes of the file's start. */
const MULTIBOOT_SEARCH = 8192;

/** Bits of the header's `flags`. */
const HEADER_FLAGS = { PAGE_ALIGN: 1 << 0, MEMORY_INFO: 1 << 1, VIDEO_MODE: 1 << 2, AOUT_KLUDGE: 1 << 16 } as const;
/** Bits 15:0 are demands: a loader that does not know one of them must refuse the image. */
const DEMANDS = 0xffff;
const KNOWN_DEMANDS = HEADER_FLAGS.PAGE_ALIGN | HEADER_FLAGS.MEMORY_INFO | HEADER_FLAGS.VIDEO_MODE;

export interface MultibootHeader {
  /** Offset in the file. */
  readonly offset: number;
  readonly flags: number;
}

/** Look for the header; undefined where the file has none. A demand that cannot be met is refused. */
export function findMultibootHeader(bytes: Uint8Array): MultibootHeader | undefined {
  const file = new Fields(bytes);
  for (let offset = 0; offset + 12 <= Math.min(bytes.length, MULTIBOOT_SEARCH); offset += 4) {
    if (file.u32(offset, "magic") !== MULTIBOOT_HEADER_MAGIC) continue;
    const flags = file.u32(offset + 4, "flags");
    const checksum = file.u32(offset + 8, "checksum");
    if ((MULTIBOOT_HEADER_MAGIC + flags + checksum) >>> 0 !== 0) continue;
    const unknown = flags & DEMANDS & ~KNOWN_DEMANDS;
    if (unknown !== 0) {
      throw new ImageError(
        "flags of the Multiboot header",
        flags,
        `bits ${hex(unknown)} demand what this loader lacks`,
      );
    }
    return { offset, flags };
  }
  return undefined;
}

/** Where an image without ELF headers goes: the header's own address fields. */
export function parseAddressFields(bytes: Uint8Array, { offset, flags }: MultibootHeader) {
  if ((flags & HEADER_FLAGS.AOUT_KLUDGE) === 0) return undefined;
  const file = new Fields(bytes);
  const header = file.u32(offset + 12, "header_addr");
  const load = file.u32(offset + 16, "load_addr");
  const loadEnd = file.u32(offset + 20, "load_end_addr");
  const bssEnd = file.u32(offset + 24, "bss_end_addr");
  const entry = file.u32(offset + 28, "entry_addr");
  if (load > header) throw new ImageError("load_addr", load, `must not exceed header_addr, ${hex(header)}`);
  const start = offset - (header - load);
  if (start < 0) throw new ImageError("load_addr", load, `is ${hex(-start)} bytes before the start of the file`);
  // 0 means: all that the file has; no bss.
  if (loadEnd !== 0 && loadEnd < load)
    throw new ImageError("load_end_addr", loadEnd, `must not be below load_addr, ${hex(load)}`);
  const length = loadEnd === 0 ? bytes.length - start : loadEnd - load;
  const data = file.slice(start, length, "the text and data (load_end_addr)");
  if (bssEnd !== 0 && bssEnd < load + length) {
    throw new ImageError("bss_end_addr", bssEnd, `must not be below the end of data, ${hex(load + length)}`);
  }
  const size = bssEnd === 0 ? length : bssEnd - load;
  if (entry < load || entry >= load + size) {
    throw new ImageError("entry_addr", entry, `must lie within ${hex(load)} to ${hex(load + size - 1)}`);
  }
  const segment: ImageSegment = { name: "the Multiboot image", address: load, data, size };
  return { entry, segments: [segment] };
}
