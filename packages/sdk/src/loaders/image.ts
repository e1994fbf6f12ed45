import type { Regs, Segment, Sregs, Vcpu, Vm } from "@tapvisor/kvm-core/contract";

/** One range of guest physical memory that an image fills. */
export interface ImageSegment {
  /** What it is, for messages: "program header 1", "module 0". */
  readonly name: string;
  /** Guest physical address. */
  readonly address: number;
  readonly data: Uint8Array;
  /** Bytes that it occupies; what `data` leaves of them is zero. */
  readonly size: number;
}

/** Registers of the boot processor when the image starts; what is not named keeps its reset value. */
export interface BootState {
  readonly regs: Readonly<Partial<Regs>>;
  readonly sregs: Readonly<Partial<Sregs>>;
}

/** An image that was checked as a whole and can be put into a guest. */
export interface GuestImage {
  readonly format: ImageFormat;
  /** In order of address; no two overlap, and all are within the guest's memory. */
  readonly segments: readonly ImageSegment[];
  readonly boot: BootState;
}

export const IMAGE_FORMATS = ["multiboot", "real", "long"] as const;
export type ImageFormat = (typeof IMAGE_FORMATS)[number];

/** An image, or what goes with it, that breaks a rule. Nothing was loaded. */
export class ImageError extends Error {
  readonly code = "ENOEXEC";
  readonly errno = -8;
  readonly syscall = "load";
  /** The field at fault: "p_filesz of program header 1". */
  readonly field: string;
  /** Its value; numbers as hexadecimal. */
  readonly value: string;
  /** What it has to be. */
  readonly rule: string;

  constructor(field: string, value: number | bigint | string, rule: string) {
    const shown = typeof value === "string" ? value : `0x${value.toString(16)}`;
    super(`ENOEXEC: ${field} is ${shown}: ${rule}, load`);
    this.name = "ImageError";
    this.field = field;
    this.value = shown;
    this.rule = rule;
  }
}

/**
 * Order the segments and check that each lies within `memorySize` bytes of guest memory and that no two overlap.
 * A segment without bytes is dropped.
 */
export function placeSegments(segments: readonly ImageSegment[], memorySize: number): ImageSegment[] {
  const placed = segments.filter(({ size }) => size > 0).sort((a, b) => a.address - b.address);
  for (const { name, address, size } of placed) {
    if (address + size > memorySize) {
      throw new ImageError(
        `end of ${name}`,
        address + size,
        `must lie within guest memory of ${hex(memorySize)} bytes`,
      );
    }
  }
  for (const [i, next] of placed.entries()) {
    const before = placed[i - 1];
    if (before !== undefined && before.address + before.size > next.address) {
      throw new ImageError(
        `address of ${next.name}`,
        next.address,
        `must not be within ${before.name} at ${hex(before.address)} to ${hex(before.address + before.size - 1)}`,
      );
    }
  }
  return placed;
}

/**
 * The lowest address of `size` free bytes in `[from, to)`, at a multiple of `alignment`, or undefined.
 *
 * @param taken in order of address, without overlap
 */
export function findFree(
  taken: readonly ImageSegment[],
  size: number,
  { from, to, alignment }: { readonly from: number; readonly to: number; readonly alignment: number },
): number | undefined {
  const align = (address: number) => Math.ceil(address / alignment) * alignment;
  let candidate = align(from);
  for (const segment of taken) {
    if (segment.address >= candidate + size) break;
    candidate = Math.max(candidate, align(segment.address + segment.size));
  }
  return candidate + size <= to ? candidate : undefined;
}

/** Write the image into guest memory, and give the boot processor its registers. */
export function installImage(image: GuestImage, vm: Vm, vcpu: Vcpu): void {
  for (const { address, data, size } of image.segments) {
    vm.writeGuest(address, data);
    clear(vm, address + data.length, size - data.length);
  }
  vcpu.setSregs({ ...vcpu.getSregs(), ...image.boot.sregs });
  vcpu.setRegs({ ...vcpu.getRegs(), ...image.boot.regs });
}

function clear(vm: Vm, address: number, length: number): void {
  const zeros = new Uint8Array(Math.min(length, 1 << 16));
  for (let at = 0; at < length; at += zeros.length) {
    vm.writeGuest(address + at, zeros.subarray(0, Math.min(zeros.length, length - at)));
  }
}

/** Bits of a segment's type (SDM vol. 3, "Code- and Data-Segment Types"), accessed already. */
const DATA_READ_WRITE = 3;
const CODE_READ = 11;

/** A flat segment as loaders set it up: ring 0, base 0. */
export function flatSegment(kind: "code16" | "code32" | "code64" | "data16" | "data32", selector: number): Segment {
  const code = kind.startsWith("code");
  const small = kind.endsWith("16");
  return {
    base: 0n,
    limit: small ? 0xffff : 0xffffffff,
    selector,
    type: code ? CODE_READ : DATA_READ_WRITE,
    present: true,
    dpl: 0,
    db: kind === "code32" || kind === "data32",
    s: true,
    l: kind === "code64",
    g: !small,
    avl: false,
    unusable: false,
  };
}

/** The descriptor that a segment register was loaded from (SDM vol. 3, "Segment Descriptors"). */
export function encodeDescriptor(segment: Segment): bigint {
  const limit = BigInt(segment.g ? segment.limit >>> 12 : segment.limit);
  const access = BigInt(segment.type | (segment.s ? 0x10 : 0) | (segment.dpl << 5) | (segment.present ? 0x80 : 0));
  const flags = BigInt((segment.avl ? 1 : 0) | (segment.l ? 2 : 0) | (segment.db ? 4 : 0) | (segment.g ? 8 : 0));
  return (
    (limit & 0xffffn) |
    ((segment.base & 0xffffffn) << 16n) |
    (access << 40n) |
    ((limit >> 16n) << 48n) |
    (flags << 52n) |
    (((segment.base >> 24n) & 0xffn) << 56n)
  );
}

export const hex = (value: number) => `0x${value.toString(16)}`;
