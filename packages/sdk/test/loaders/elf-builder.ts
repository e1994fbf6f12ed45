/** A small ELF executable, made field by field so that a test can break one of them. */
export interface ElfSpec {
  readonly bits?: 32 | 64;
  readonly machine?: number;
  readonly type?: number;
  readonly entry?: bigint;
  readonly loads?: readonly {
    readonly paddr: number;
    readonly vaddr?: bigint;
    readonly data: Uint8Array;
    readonly memsz?: number;
  }[];
}

/** Offset of the data of the first load in every file that {@link buildElf} makes with one load. */
export const FIRST_LOAD_OFFSET = 0x100;

export function buildElf({ bits = 32, machine = 3, type = 2, entry = 0x100000n, loads = [] }: ElfSpec): Uint8Array {
  const wide = bits === 64;
  const [ehdr, phdr] = wide ? [64, 56] : [52, 32];
  const offsets: number[] = [];
  let end = FIRST_LOAD_OFFSET;
  for (const { data } of loads) {
    offsets.push(end);
    end += data.length;
  }
  const bytes = new Uint8Array(end);
  const view = new DataView(bytes.buffer);
  const word = (at: number, value: bigint) =>
    wide ? view.setBigUint64(at, value, true) : view.setUint32(at, Number(value), true);
  bytes.set([0x7f, 0x45, 0x4c, 0x46, wide ? 2 : 1, 1, 1]);
  view.setUint16(16, type, true);
  view.setUint16(18, machine, true);
  view.setUint32(20, 1, true);
  word(24, entry);
  word(wide ? 32 : 28, BigInt(ehdr));
  view.setUint16(wide ? 52 : 40, ehdr, true);
  view.setUint16(wide ? 54 : 42, phdr, true);
  view.setUint16(wide ? 56 : 44, loads.length, true);
  loads.forEach(({ paddr, vaddr = BigInt(paddr), data, memsz = data.length }, i) => {
    const at = ehdr + i * phdr;
    view.setUint32(at, 1, true);
    const fields = [offsets[i] ?? 0, vaddr, paddr, data.length, memsz].map(BigInt);
    const places = wide ? [8, 16, 24, 32, 40] : [4, 8, 12, 16, 20];
    fields.forEach((value, f) => word(at + (places[f] ?? 0), value));
    bytes.set(data, offsets[i] ?? 0);
  });
  return bytes;
}

/** A Multiboot header with `flags`, followed by `fields`. */
export function multibootHeader(flags = 0, ...fields: number[]): Uint8Array {
  const words = [0x1badb002, flags, -(0x1badb002 + flags), ...fields];
  const bytes = new Uint8Array(words.length * 4);
  const view = new DataView(bytes.buffer);
  words.forEach((word, i) => view.setUint32(i * 4, word >>> 0, true));
  return bytes;
}

export function concat(...parts: Uint8Array[]): Uint8Array {
  const bytes = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}
