import { encodeDescriptor, flatSegment, ImageError } from "./image.js";

/** One range of the memory map (Multiboot Specification, "Boot information format"). */
export interface MemoryRange {
  readonly base: number;
  readonly length: number;
  /** 1 is RAM, 2 is reserved. */
  readonly type: 1 | 2;
}

export interface LoadedModule {
  readonly start: number;
  readonly end: number;
  readonly commandLine: string;
}

export interface MultibootInfo {
  readonly commandLine: string;
  readonly modules: readonly LoadedModule[];
  readonly memoryMap: readonly MemoryRange[];
}

/** Bits of `flags`: which fields are valid. */
const INFO_FLAGS = {
  MEMORY: 1 << 0,
  COMMAND_LINE: 1 << 2,
  MODULES: 1 << 3,
  MEMORY_MAP: 1 << 6,
  LOADER_NAME: 1 << 9,
} as const;
const INFO_SIZE = 116;
const MODULE_SIZE = 16;
const MEMORY_MAP_ENTRY_SIZE = 24;
const LOADER_NAME = "Tapvisor";

/** First bytes of the EBDA: RAM below it is what `mem_lower` counts. */
export const LOWER_MEMORY_END = 0x9fc00;
export const UPPER_MEMORY_START = 0x10_0000;
/** Guest memory beyond it goes above 4 GiB: below lie the APICs, the TSS and identity-map pages, and PCI. */
export const BELOW_4G_END = 0xc000_0000;
const FOUR_GIB = 0x1_0000_0000;

/** The memory map of a machine with `memorySize` bytes of RAM. */
export function memoryMap(memorySize: number): MemoryRange[] {
  const below = Math.min(memorySize, BELOW_4G_END);
  const map: MemoryRange[] = [
    { base: 0, length: LOWER_MEMORY_END, type: 1 },
    { base: LOWER_MEMORY_END, length: 0xa0000 - LOWER_MEMORY_END, type: 2 },
    { base: 0xf0000, length: 0x10000, type: 2 },
    { base: UPPER_MEMORY_START, length: below - UPPER_MEMORY_START, type: 1 },
    { base: 0xfeff_c000, length: 0x4000, type: 2 },
  ];
  if (memorySize > below) map.push({ base: FOUR_GIB, length: memorySize - below, type: 1 });
  return map.filter(({ length }) => length > 0);
}

/** Lay out the boot information as one block that starts at `address`, and the GDT that matches the entry state. */
export class MultibootInfoBlock {
  /** All of it, to be put at {@link address}. */
  readonly bytes: Uint8Array;
  /** Address and limit of the GDT in it. */
  readonly gdt: { readonly address: bigint; readonly size: number };

  /** Bytes that the block takes, wherever it is. */
  static size(info: MultibootInfo): number {
    return new MultibootInfoBlock(info, 0).bytes.length;
  }

  constructor(info: MultibootInfo, address: number) {
    const gdt = [0n, encodeDescriptor(flatSegment("code32", 8)), encodeDescriptor(flatSegment("data32", 16))];
    const strings = [info.commandLine, LOADER_NAME, ...info.modules.map(({ commandLine }) => commandLine)].map(cString);
    const gdtAt = INFO_SIZE + 4;
    const mapAt = gdtAt + gdt.length * 8;
    const modulesAt = mapAt + info.memoryMap.length * MEMORY_MAP_ENTRY_SIZE;
    const stringsAt: number[] = [];
    let end = modulesAt + info.modules.length * MODULE_SIZE;
    for (const string of strings) {
      stringsAt.push(address + end);
      end += string.length;
    }
    const bytes = new Uint8Array(end);
    const view = new DataView(bytes.buffer);
    const u32 = (at: number, value: number) => view.setUint32(at, value, true);
    const u64 = (at: number, value: number | bigint) => view.setBigUint64(at, BigInt(value), true);

    const upper = info.memoryMap.find(({ base }) => base === UPPER_MEMORY_START);
    u32(
      0,
      Object.values(INFO_FLAGS).reduce((all, bit) => all | bit, 0),
    );
    u32(4, Math.floor(LOWER_MEMORY_END / 1024));
    u32(8, Math.floor((upper?.length ?? 0) / 1024));
    u32(16, stringsAt[0] ?? 0);
    u32(20, info.modules.length);
    u32(24, address + modulesAt);
    u32(44, info.memoryMap.length * MEMORY_MAP_ENTRY_SIZE);
    u32(48, address + mapAt);
    u32(64, stringsAt[1] ?? 0);
    gdt.forEach((descriptor, i) => u64(gdtAt + i * 8, descriptor));
    info.memoryMap.forEach(({ base, length, type }, i) => {
      const at = mapAt + i * MEMORY_MAP_ENTRY_SIZE;
      // The size of an entry does not count the size field itself.
      u32(at, MEMORY_MAP_ENTRY_SIZE - 4);
      u64(at + 4, base);
      u64(at + 12, length);
      u32(at + 20, type);
    });
    info.modules.forEach(({ start, end }, i) => {
      const at = modulesAt + i * MODULE_SIZE;
      u32(at, start);
      u32(at + 4, end);
      u32(at + 8, stringsAt[i + 2] ?? 0);
    });
    strings.forEach((string, i) => bytes.set(string, (stringsAt[i] ?? 0) - address));
    this.bytes = bytes;
    this.gdt = { address: BigInt(address + gdtAt), size: gdt.length * 8 - 1 };
  }
}

function cString(text: string): Uint8Array {
  if (text.includes("\0")) throw new ImageError("a command line", JSON.stringify(text), "must not contain a NUL");
  return new TextEncoder().encode(`${text}\0`);
}
