import { CR0, RFLAGS, PAGE_SIZE } from "@tapvisor/x86-isa";
import { parseElf } from "./elf.js";
import { findFree, flatSegment, hex, ImageError, placeSegments, type GuestImage, type ImageSegment } from "./image.js";
import { findMultibootHeader, parseAddressFields } from "./multiboot-header.js";
import { BELOW_4G_END, LOWER_MEMORY_END, memoryMap, MultibootInfoBlock, type LoadedModule } from "./multiboot-info.js";

export interface MultibootModule {
  readonly data: Uint8Array;
  /** What the guest reads as the module's string: by custom its file name, then arguments. */
  readonly commandLine?: string;
}

export interface MultibootOptions {
  /** Bytes of guest memory. */
  readonly memorySize: number;
  /** By custom the image's name, a blank, and its arguments. */
  readonly commandLine?: string;
  readonly modules?: readonly MultibootModule[];
}

/** What EAX says to a Multiboot kernel (Multiboot Specification, "Machine state"). */
const MULTIBOOT_BOOTLOADER_MAGIC = 0x2badb002n;
/** Page 0 is the interrupt table of real mode, the next two are where kernels start other processors. */
const LOWEST_INFO_ADDRESS = 0x9000;

/**
 * Load a Multiboot 1 kernel: by its ELF headers, 32 or 64 bits, or by the address fields of its header. The kernel
 * starts in protected mode with flat segments, as the specification's "Machine state" has it.
 */
export function loadMultiboot(bytes: Uint8Array, options: MultibootOptions): GuestImage {
  const header = findMultibootHeader(bytes);
  if (header === undefined) {
    throw new ImageError("the Multiboot header", "missing", "must be 4-aligned in the first 8192 bytes of the file");
  }
  const { entry, segments } = parseAddressFields(bytes, header) ?? parseElf(bytes);
  if (entry > 0xffff_ffff)
    throw new ImageError("the entry point", entry, "must be below 4 GiB: it is entered in 32-bit mode");
  const below4G = Math.min(options.memorySize, BELOW_4G_END);
  const kernel = placeSegments(segments, below4G);
  const modules = placeModules(kernel, options.modules ?? [], below4G);
  const taken = placeSegments([...kernel, ...modules], below4G);

  const info = {
    commandLine: options.commandLine ?? "",
    modules: modules.map(({ address, size }, i): LoadedModule => ({
      start: address,
      end: address + size,
      commandLine: options.modules?.[i]?.commandLine ?? "",
    })),
    memoryMap: memoryMap(options.memorySize),
  };
  const size = MultibootInfoBlock.size(info);
  const address = findFree(taken, size, { from: LOWEST_INFO_ADDRESS, to: LOWER_MEMORY_END, alignment: 16 });
  if (address === undefined) {
    throw new ImageError(
      "size of the boot information",
      size,
      `must fit between ${hex(LOWEST_INFO_ADDRESS)} and ${hex(LOWER_MEMORY_END)}, beside the kernel`,
    );
  }
  const block = new MultibootInfoBlock(info, address);
  const data = flatSegment("data32", 0x10);
  return {
    format: "multiboot",
    segments: placeSegments([...taken, { name: "boot information", address, data: block.bytes, size }], below4G),
    boot: {
      regs: {
        rax: MULTIBOOT_BOOTLOADER_MAGIC,
        rbx: BigInt(address),
        rsp: BigInt(LOWER_MEMORY_END),
        rip: BigInt(entry),
        rflags: RFLAGS.FIXED,
      },
      sregs: {
        cs: flatSegment("code32", 0x08), ds: data, es: data, fs: data, gs: data, ss: data,
        gdt: block.gdt, idt: { address: 0n, size: 0 },
        cr0: CR0.PE | CR0.ET, cr3: 0n, cr4: 0n, efer: 0n,
      }, // prettier-ignore
    },
  };
}

/** Each module starts on a page of its own, the first one after the kernel. */
function placeModules(kernel: readonly ImageSegment[], modules: readonly MultibootModule[], limit: number) {
  let from = Math.max(0x10_0000, ...kernel.map(({ address, size }) => address + size));
  return modules.map(({ data }, i): ImageSegment => {
    const name = `module ${i}`;
    const address = Math.ceil(from / PAGE_SIZE) * PAGE_SIZE;
    if (address + data.length > limit) {
      throw new ImageError(
        `end of ${name}`,
        address + data.length,
        `must lie within guest memory of ${hex(limit)} bytes`,
      );
    }
    from = address + Math.max(data.length, 1);
    return { name, address, data, size: data.length };
  });
}
