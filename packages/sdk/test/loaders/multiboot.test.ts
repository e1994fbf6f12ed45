import { describe, expect, it } from "vitest";
import { detectFormat, loadImage } from "../../src/loaders/load.js";
import { loadMultiboot, type MultibootOptions } from "../../src/loaders/multiboot.js";
import type { GuestImage } from "../../src/loaders/image.js";
import { buildElf, concat, multibootHeader } from "./elf-builder.js";

const MIB = 1 << 20;
const options: MultibootOptions = { memorySize: 128 * MIB };
const code = concat(multibootHeader(), new Uint8Array(52).fill(0x90));
const kernel = (paddr = 4 * MIB, memsz = 0x10000) =>
  buildElf({ entry: BigInt(paddr + 12), loads: [{ paddr, data: code, memsz }] });

/** Read guest memory as the image leaves it. */
function memoryOf(image: GuestImage) {
  const read = (address: number, length: number) =>
    Uint8Array.from({ length }, (_, i) => {
      const at = address + i;
      const segment = image.segments.find((s) => s.address <= at && at < s.address + s.size);
      return segment?.data[at - segment.address] ?? 0;
    });
  const view = (address: number, length: number) => new DataView(read(address, length).buffer);
  return {
    u32: (address: number) => view(address, 4).getUint32(0, true),
    u64: (address: number) => view(address, 8).getBigUint64(0, true),
    string: (address: number) => {
      let text = "";
      for (let at = address; ; at++) {
        const [byte = 0] = read(at, 1);
        if (byte === 0) return text;
        text += String.fromCharCode(byte);
      }
    },
  };
}

describe("what the Multiboot loader refuses", () => {
  const refused = (bytes: Uint8Array, field: string, more: Partial<MultibootOptions> = {}) =>
    expect(() => loadMultiboot(bytes, { ...options, ...more })).toThrow(expect.objectContaining({ field }));

  it("a file without a header, and one whose header is too far in, misaligned, or has a bad checksum", () => {
    const field = "the Multiboot header";
    refused(buildElf({ loads: [{ paddr: MIB, data: new Uint8Array(64) }] }), field);
    refused(concat(new Uint8Array(8192), multibootHeader()), field);
    refused(concat(new Uint8Array(2), multibootHeader()), field);
    const wrong = multibootHeader();
    wrong[8] = 0;
    refused(wrong, field);
  });

  it("a demand that no loader knows", () => {
    refused(concat(multibootHeader(1 << 3), new Uint8Array(64)), "flags of the Multiboot header");
  });

  it("a segment beyond guest memory", () => {
    refused(kernel(127 * MIB, 2 * MIB), "end of program header 0");
  });

  it("segments that overlap", () => {
    const bytes = buildElf({ entry: BigInt(4 * MIB), loads: [{ paddr: 4 * MIB, data: code, memsz: 0x2000 }, { paddr: 4 * MIB + 0x1000, data: code }] }); // prettier-ignore
    refused(bytes, "address of program header 1");
  });

  it("a module that does not fit after the kernel", () => {
    refused(kernel(), "end of module 1", {
      modules: [{ data: new Uint8Array(MIB) }, { data: new Uint8Array(127 * MIB) }],
    });
  });

  it("a command line that is too long for low memory, or holds a NUL", () => {
    refused(kernel(), "size of the boot information", { commandLine: "x".repeat(700 * 1024) });
    refused(kernel(), "a command line", { commandLine: "a\0b" });
  });

  it("address fields that contradict the file or each other", () => {
    const at = 1 * MIB;
    const fields = (...values: number[]) => concat(multibootHeader(1 << 16, ...values), new Uint8Array(32));
    refused(fields(at, at + 4, 0, 0, at), "load_addr");
    refused(fields(at + 8, at, 0, 0, at), "load_addr");
    refused(fields(at, at, at - 1, 0, at), "load_end_addr");
    refused(fields(at, at, at + 65, 0, at), "end of the text and data (load_end_addr)");
    refused(fields(at, at, 0, at + 63, at), "bss_end_addr");
    refused(fields(at, at, 0, 0, at + 64), "entry_addr");
    refused(fields(at, at, 0, 0, at - 1), "entry_addr");
    refused(multibootHeader(1 << 16, at, at), "end of load_end_addr");
  });
});

describe("the state that a Multiboot kernel starts in", () => {
  const image = loadMultiboot(kernel(), options);
  const { regs, sregs } = image.boot;

  it("is protected mode with flat segments, without paging", () => {
    expect([regs.rip, regs.rax, regs.rflags]).toEqual([BigInt(4 * MIB + 12), 0x2badb002n, 2n]);
    expect([sregs.cr0, sregs.cr3, sregs.cr4, sregs.efer]).toEqual([0x11n, 0n, 0n, 0n]);
    expect(sregs.cs).toMatchObject({ base: 0n, limit: 0xffffffff, selector: 8, db: true, l: false, s: true, type: 11 });
    for (const segment of [sregs.ds, sregs.es, sregs.fs, sregs.gs, sregs.ss]) {
      expect(segment).toMatchObject({ base: 0n, limit: 0xffffffff, selector: 16, db: true, s: true, type: 3 });
    }
  });

  it("has a GDT that agrees with the segment registers", () => {
    const memory = memoryOf(image);
    expect(sregs.gdt?.size).toBe(23);
    const base = Number(sregs.gdt?.address);
    expect([0, 8, 16].map((i) => memory.u64(base + i))).toEqual([0n, 0x00cf9b000000ffffn, 0x00cf93000000ffffn]);
  });
});

describe("the boot information", () => {
  const modules = [
    { data: Uint8Array.of(65, 66), commandLine: "env" },
    { data: new Uint8Array(5000) },
    { data: new Uint8Array(0) },
  ];
  const image = loadMultiboot(kernel(), { ...options, commandLine: "x86/apic.flat one two", modules });
  const memory = memoryOf(image);
  const mbi = Number(image.boot.regs.rbx);

  it("lies below 640 KiB, clear of the first pages", () => {
    expect(mbi).toBeGreaterThanOrEqual(0x9000);
    const block = image.segments.find(({ address }) => address === mbi);
    expect((block?.address ?? 0) + (block?.size ?? 0)).toBeLessThanOrEqual(0x9fc00);
  });

  it("moves out of the way of a kernel that is linked there", () => {
    const low = loadMultiboot(kernel(0x8000, 0x6000), options);
    expect(Number(low.boot.regs.rbx)).toBeGreaterThanOrEqual(0xe000);
  });

  it("says how much memory there is", () => {
    expect(memory.u32(mbi) & 0x4d).toBe(0x4d);
    expect(memory.u32(mbi + 4)).toBe(639);
    expect(memory.u32(mbi + 8)).toBe(127 * 1024);
  });

  it("has the command line", () => {
    expect(memory.string(memory.u32(mbi + 16))).toBe("x86/apic.flat one two");
  });

  it("has the modules, each on pages of its own after the kernel's bss", () => {
    expect(memory.u32(mbi + 20)).toBe(3);
    const list = memory.u32(mbi + 24);
    const read = [0, 1, 2].map((i) => [0, 4].map((field) => memory.u32(list + i * 16 + field)));
    const first = 4 * MIB + 0x10000;
    expect(read).toEqual([[first, first + 2], [first + 0x1000, first + 0x1000 + 5000], [first + 0x3000, first + 0x3000]]); // prettier-ignore
    expect(memory.string(memory.u32(list + 8))).toBe("env");
    expect(memory.string(memory.u32(list + 24))).toBe("");
    expect(memory.string(first)).toBe("AB");
  });

  it("has a memory map in order, without overlap, with the RAM above 4 GiB where there is some", () => {
    const big = loadMultiboot(kernel(), { memorySize: 5 * 1024 * MIB });
    const bigMemory = memoryOf(big);
    const info = Number(big.boot.regs.rbx);
    const [length, start] = [bigMemory.u32(info + 44), bigMemory.u32(info + 48)];
    const map: [number, number, number][] = [];
    for (let at = start; at < start + length; at += bigMemory.u32(at) + 4) {
      map.push([Number(bigMemory.u64(at + 4)), Number(bigMemory.u64(at + 12)), bigMemory.u32(at + 20)]);
    }
    const ram = map.filter(([, , type]) => type === 1).reduce((sum, [, size]) => sum + size, 0);
    expect(ram).toBe(5 * 1024 * MIB - (MIB - 0x9fc00));
    expect(map.at(-1)).toEqual([0x1_0000_0000, 2 * 1024 * MIB, 1]);
    map.slice(1).forEach(([base], i) => expect(base).toBeGreaterThanOrEqual((map[i]?.[0] ?? 0) + (map[i]?.[1] ?? 0)));
  });
});

describe("what the Multiboot loader takes", () => {
  it("an ELF64 kernel, entered in 32-bit mode all the same", () => {
    const bytes = buildElf({ bits: 64, machine: 62, entry: BigInt(MIB + 12), loads: [{ paddr: MIB, data: code }] });
    const image = loadMultiboot(bytes, options);
    expect([image.boot.regs.rip, image.boot.sregs.efer]).toEqual([BigInt(MIB + 12), 0n]);
  });

  it("an image without ELF headers by its address fields, with bss, and over ELF headers where both are there", () => {
    const header = multibootHeader(1 << 16, MIB + 4, MIB, 0, MIB + 0x1000, MIB + 36);
    const image = loadMultiboot(concat(Uint8Array.of(1, 2, 3, 4), header, new Uint8Array(4).fill(9)), options);
    expect(image.boot.regs.rip).toBe(BigInt(MIB + 36));
    expect(image.segments.find(({ address }) => address === MIB)).toMatchObject({ size: 0x1000 });
    expect(memoryOf(image).u32(MIB + 36)).toBe(0x09090909);
    expect(memoryOf(image).u32(MIB)).toBe(0x04030201);
  });

  it("every known demand together", () => {
    const data = concat(multibootHeader(7), new Uint8Array(52));
    expect(() => loadMultiboot(buildElf({ entry: BigInt(MIB), loads: [{ paddr: MIB, data }] }), options)).not.toThrow();
  });
});

describe("formats", () => {
  it("are told by the file, and unknown bytes are refused", () => {
    expect(detectFormat(kernel())).toBe("multiboot");
    const sector = new Uint8Array(512);
    expect(() => detectFormat(sector)).toThrow(expect.objectContaining({ field: "format of the image" }));
    sector.set([0x55, 0xaa], 510);
    expect(detectFormat(sector)).toBe("real");
  });

  it("a real-mode image starts at 0000:7C00", () => {
    const image = loadImage(Uint8Array.of(0xf4), { ...options, format: "real" });
    expect(image.boot.regs.rip).toBe(0x7c00n);
    expect(image.boot.sregs.cs).toMatchObject({ base: 0n, limit: 0xffff, selector: 0, db: false });
    expect(image.boot.sregs.cr0).toBe(0x10n);
    expect(() => loadImage(Uint8Array.of(0xf4), { ...options, format: "real", address: 0x10000 })).toThrow(
      /below 0x10000/,
    );
  });

  it("raw 64-bit code starts in long mode, with 4 GiB mapped one to one", () => {
    const image = loadImage(Uint8Array.of(0xf4), { ...options, format: "long" });
    const memory = memoryOf(image);
    const { cr3 = 0n, cr0 = 0n, efer } = image.boot.sregs;
    expect([cr0 & 0x80000001n, efer]).toEqual([0x80000001n, 0x500n]);
    expect(image.boot.sregs.cs).toMatchObject({ l: true, db: false });
    const walk = (linear: bigint) => {
      const entry = (table: bigint, shift: bigint) =>
        memory.u64(Number((table & ~0xfffn) + ((linear >> shift) & 511n) * 8n));
      const pde = entry(entry(entry(cr3, 39n), 30n), 21n);
      expect(pde & 0x81n).toBe(0x81n);
      return (pde & ~0x1fffffn) | (linear & 0x1fffffn);
    };
    for (const address of [0n, 0x100000n, 0x12345678n, 0xfee00020n, 0xffffffffn]) expect(walk(address)).toBe(address);
  });

  it("raw code must not lie on the page tables that it needs, nor be empty", () => {
    expect(() => loadImage(Uint8Array.of(0xf4), { ...options, format: "long", address: 0x3000 })).toThrow(
      /page tables and GDT/,
    );
    expect(() => loadImage(new Uint8Array(0), { ...options, format: "long" })).toThrow(/at least 1 byte/);
  });
});
