import { CR0, CR4, EFER, RFLAGS, PAGE_SIZE } from "@tapvisor/x86-isa";
import {
  encodeDescriptor,
  flatSegment,
  hex,
  ImageError,
  placeSegments,
  type GuestImage,
  type ImageSegment,
} from "./image.js";

export interface RawOptions {
  /** Bytes of guest memory. */
  readonly memorySize: number;
  /** Guest physical address of the first byte, which is also the first instruction. */
  readonly address?: number;
}

/** Where a BIOS puts a boot sector, and starts it. */
export const BOOT_SECTOR_ADDRESS = 0x7c00;
/** Where 64-bit code goes unless told otherwise. */
export const LONG_MODE_ADDRESS = 0x10_0000;

/** A flat image for real mode: all of the file at `address`, started at its first byte with CS, DS, ES and SS 0. */
export function loadRealMode(bytes: Uint8Array, options: RawOptions): GuestImage {
  const address = options.address ?? BOOT_SECTOR_ADDRESS;
  if (address > 0xffff)
    throw new ImageError("the load address", address, "must be below 0x10000: it is entered with CS 0");
  const segments = placeSegments([rawSegment(bytes, address)], options.memorySize);
  const data = flatSegment("data16", 0);
  return {
    format: "real",
    segments,
    boot: {
      // The stack grows down from the image, as a boot sector has it.
      regs: { rip: BigInt(address), rsp: BigInt(address), rflags: RFLAGS.FIXED },
      sregs: {
        cs: flatSegment("code16", 0), ds: data, es: data, fs: data, gs: data, ss: data,
        gdt: { address: 0n, size: 0xffff }, idt: { address: 0n, size: 0x3ff },
        cr0: CR0.ET, cr3: 0n, cr4: 0n, efer: 0n,
      }, // prettier-ignore
    },
  };
}

/** Pages that {@link loadLongMode} sets up below 1 MiB: PML4, PDPT, four page directories, GDT, and the stack's top. */
const PML4 = 0x1000;
const PDPT = 0x2000;
const PAGE_DIRECTORIES = 0x3000;
const GDT = 0x7000;
const STACK_TOP = 0x9_0000;
/** Present, writable; a directory entry with PS maps 2 MiB. */
const PRESENT_WRITABLE = 0x3n;
const LARGE = 0x80n;

/**
 * Raw 64-bit code: all of the file at `address`, started at its first byte in long mode at CPL 0, with the first
 * 4 GiB mapped one to one in 2 MiB pages, interrupts off and a stack below 640 KiB.
 */
export function loadLongMode(bytes: Uint8Array, options: RawOptions): GuestImage {
  const address = options.address ?? LONG_MODE_ADDRESS;
  const code = flatSegment("code64", 0x08);
  const data = flatSegment("data32", 0x10);
  const tables = new Uint8Array(GDT + 24 - PML4);
  const view = new DataView(tables.buffer);
  const put = (at: number, value: bigint) => view.setBigUint64(at - PML4, value, true);
  put(PML4, BigInt(PDPT) | PRESENT_WRITABLE);
  for (let i = 0; i < 4; i++) put(PDPT + i * 8, BigInt(PAGE_DIRECTORIES + i * PAGE_SIZE) | PRESENT_WRITABLE);
  for (let i = 0; i < 4 * 512; i++) put(PAGE_DIRECTORIES + i * 8, (BigInt(i) << 21n) | LARGE | PRESENT_WRITABLE);
  put(GDT + 8, encodeDescriptor(code));
  put(GDT + 16, encodeDescriptor(data));
  const setup: ImageSegment = { name: "page tables and GDT", address: PML4, data: tables, size: tables.length };
  const stack: ImageSegment = {
    name: "the stack",
    address: STACK_TOP - PAGE_SIZE,
    data: new Uint8Array(0),
    size: PAGE_SIZE,
  };
  return {
    format: "long",
    segments: placeSegments([setup, stack, rawSegment(bytes, address)], options.memorySize),
    boot: {
      regs: { rip: BigInt(address), rsp: BigInt(STACK_TOP), rflags: RFLAGS.FIXED },
      sregs: {
        cs: code, ds: data, es: data, fs: data, gs: data, ss: data,
        gdt: { address: BigInt(GDT), size: 23 }, idt: { address: 0n, size: 0 },
        cr0: CR0.PE | CR0.ET | CR0.NE | CR0.WP | CR0.PG, cr3: BigInt(PML4), cr4: CR4.PAE, efer: EFER.LME | EFER.LMA,
      }, // prettier-ignore
    },
  };
}

function rawSegment(data: Uint8Array, address: number): ImageSegment {
  if (data.length === 0) throw new ImageError("size of the image", 0, "must be at least 1 byte");
  if (!Number.isSafeInteger(address) || address < 0) {
    throw new ImageError(
      "the load address",
      String(address),
      `must be a guest physical address, as ${hex(LONG_MODE_ADDRESS)}`,
    );
  }
  return { name: "the image", address, data, size: data.length };
}
