import { Fields } from "./fields.js";
import { hex, ImageError, type ImageSegment } from "./image.js";

/** What a loader needs of an ELF file (System V gABI, "Object Files" and "Program Loading"). */
export interface ElfFile {
  readonly bits: 32 | 64;
  /** Physical address of the entry point: e_entry is a virtual one, and is mapped through its segment. */
  readonly entry: number;
  /** The PT_LOAD segments at their physical addresses, in the order of the program headers. */
  readonly segments: readonly ImageSegment[];
}

const ELFCLASS = { 1: 32, 2: 64 } as const;
const ELFDATA2LSB = 1;
const ET_EXEC = 2;
const EM_386 = 3;
const EM_X86_64 = 62;
const PT_LOAD = 1;
/** Sizes of the file header and of a program header. */
const SIZES = { 32: { ehdr: 52, phdr: 32 }, 64: { ehdr: 64, phdr: 56 } } as const;
/** More program headers than any linker makes for a kernel; a file that claims more is damaged. */
const MAX_PHNUM = 1024;

/** Does the file begin as an ELF file does? */
export function isElf(bytes: Uint8Array): boolean {
  return bytes[0] === 0x7f && bytes[1] === 0x45 && bytes[2] === 0x4c && bytes[3] === 0x46;
}

/** Parse an executable for x86. Every field that is used is checked; nothing else is read. */
export function parseElf(bytes: Uint8Array): ElfFile {
  const file = new Fields(bytes);
  file.slice(0, 16, "e_ident");
  if (!isElf(bytes)) throw new ImageError("e_ident[EI_MAG0..3]", file.u32(0, "e_ident"), "must be 0x7f 'E' 'L' 'F'");
  const bits = ELFCLASS[(bytes[4] ?? 0) as keyof typeof ELFCLASS] as 32 | 64 | undefined;
  if (bits === undefined)
    throw new ImageError("e_ident[EI_CLASS]", bytes[4] ?? 0, "must be 1 (32 bits) or 2 (64 bits)");
  if (bytes[5] !== ELFDATA2LSB) throw new ImageError("e_ident[EI_DATA]", bytes[5] ?? 0, "must be 1 (little-endian)");
  file.slice(0, SIZES[bits].ehdr, "the ELF header");
  const type = file.u16(16, "e_type");
  if (type !== ET_EXEC) throw new ImageError("e_type", type, "must be 2 (ET_EXEC): link it static, without PIE");
  const machine = file.u16(18, "e_machine");
  if (machine !== EM_386 && machine !== EM_X86_64) {
    throw new ImageError("e_machine", machine, "must be 3 (EM_386) or 0x3e (EM_X86_64)");
  }
  const wide = bits === 64;
  const entry = wide ? file.u64(24, "e_entry") : BigInt(file.u32(24, "e_entry"));
  const phoff = number(wide ? file.u64(32, "e_phoff") : BigInt(file.u32(28, "e_phoff")), "e_phoff");
  const phentsize = file.u16(wide ? 54 : 42, "e_phentsize");
  const phnum = file.u16(wide ? 56 : 44, "e_phnum");
  if (phnum === 0 || phnum > MAX_PHNUM) throw new ImageError("e_phnum", phnum, `must be 1 to ${MAX_PHNUM}`);
  if (phentsize !== SIZES[bits].phdr) throw new ImageError("e_phentsize", phentsize, `must be ${SIZES[bits].phdr}`);
  file.slice(phoff, phentsize * phnum, "the program header table");

  const segments: ImageSegment[] = [];
  let physicalEntry: number | undefined;
  for (let i = 0; i < phnum; i++) {
    const segment = programHeader(file, bits, phoff + i * phentsize, i);
    if (segment === undefined) continue;
    segments.push(segment);
    const { vaddr, address, size } = segment;
    if (vaddr <= entry && entry < vaddr + BigInt(size)) physicalEntry ??= address + Number(entry - vaddr);
  }
  if (segments.length === 0) throw new ImageError("number of PT_LOAD program headers", 0, "must be at least 1");
  if (physicalEntry === undefined) throw new ImageError("e_entry", entry, "must lie within a PT_LOAD segment");
  return { bits, entry: physicalEntry, segments };
}

function programHeader(file: Fields, bits: 32 | 64, at: number, index: number) {
  const name = `program header ${index}`;
  if (file.u32(at, `p_type of ${name}`) !== PT_LOAD) return undefined;
  const word = (narrow: number, wide: number) =>
    bits === 64 ? file.u64(at + wide, name) : BigInt(file.u32(at + narrow, name));
  const offset = number(word(4, 8), `p_offset of ${name}`);
  const vaddr = word(8, 16);
  const address = number(word(12, 24), `p_paddr of ${name}`);
  const filesz = number(word(16, 32), `p_filesz of ${name}`);
  const size = number(word(20, 40), `p_memsz of ${name}`);
  if (filesz > size) throw new ImageError(`p_filesz of ${name}`, filesz, `must not exceed p_memsz, ${hex(size)}`);
  const data = file.slice(offset, filesz, `${name} (p_offset + p_filesz)`);
  return { name, address, vaddr, data, size };
}

/** An address, offset or size of at most 52 bits, as every physical one is. */
function number(value: bigint, field: string): number {
  if (value >> 52n !== 0n) throw new ImageError(field, value, "must be less than 0x10000000000000 (52 bits)");
  return Number(value);
}
