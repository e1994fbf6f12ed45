import {
  type AccessSize, type CpuState, EFER, GuestException, type MemoryAccess, VECTOR, cpl, isCanonical,
} from "@tapvisor/x86-isa"; // prettier-ignore
import { readDevice } from "../buses/access.js";
import { type BusSpace, PAGE_SIZE } from "../contract/index.js";
import { gfnOf } from "../memory/slots.js";
import { type GuestAccess, translateOrFault } from "../mmu/walk.js";
import type { VcpuState } from "../state/vcpu-state.js";
import { type CompletedRead, type DelayedWrite, DeviceReadNeeded } from "./state.js";

/** Longest access that a device sees at once. */
const DEVICE_BYTES = 8;
const WORD_BYTES = 4;

const bytesOf = (value: bigint, size: number): Uint8Array => {
  const bytes = new Uint8Array(size);
  for (let at = 0, rest = value; at < size; at += WORD_BYTES, rest >>= 32n) {
    let word = Number(rest & 0xffffffffn);
    for (let i = at; i < size && i < at + WORD_BYTES; i++, word >>>= 8) bytes[i] = word & 0xff;
  }
  return bytes;
};

const valueOf = (bytes: Uint8Array): bigint => {
  let value = 0n;
  for (let at = (bytes.length - 1) & ~(WORD_BYTES - 1); at >= 0; at -= WORD_BYTES) {
    let word = 0;
    for (let i = Math.min(at + WORD_BYTES, bytes.length) - 1; i >= at; i--) word = (word << 8) | (bytes[i] as number);
    value = (value << 32n) | BigInt(word >>> 0);
  }
  return value;
};

/**
 * The memory and the devices that an emulated instruction reaches, by way of the guest's page tables and the slots.
 *
 * Writes are kept until the instruction has completed. A device read that user space has to answer throws
 * {@link DeviceReadNeeded}; the instruction starts over with the answer in `reads`. Nothing of an access happens before
 * all pages of it are translated.
 */
export class EmulatorMemory {
  reads: readonly CompletedRead[] = [];
  writes: DelayedWrite[] = [];
  #nextRead = 0;
  readonly #readNeeded = new DeviceReadNeeded();

  constructor(
    private readonly vcpu: VcpuState,
    private readonly state: CpuState,
  ) {}

  /** An instruction begins, or begins again with the reads that are done. */
  begin(reads: readonly CompletedRead[]): void {
    this.reads = reads;
    this.writes = [];
    this.#nextRead = 0;
  }

  #access(access: MemoryAccess): GuestAccess {
    const system = access.system === true;
    return {
      write: access.write || access.willWrite === true,
      user: !system && cpl(this.state) === 3,
      fetch: access.fetch === true,
      implicit: system,
    };
  }

  /** Guest physical address of a byte. */
  #translate(linear: bigint, access: GuestAccess): number {
    const long = (this.vcpu.arch.efer & EFER.LMA) !== 0n;
    return translateOrFault(this.vcpu, long ? BigInt.asUintN(64, linear) : linear & 0xffffffffn, access);
  }

  /** Bytes of an access that lie on its first page. The whole of it has to be canonical. */
  #firstPart(linear: bigint, size: number, access: MemoryAccess): number {
    if ((this.vcpu.arch.efer & EFER.LMA) !== 0n && !(isCanonical(linear) && isCanonical(linear + BigInt(size - 1)))) {
      throw new GuestException(access.stack === true ? VECTOR.SS : VECTOR.GP, 0);
    }
    return Math.min(size, PAGE_SIZE - Number(linear & 0xfffn));
  }

  load(linear: bigint, size: AccessSize, access: MemoryAccess): bigint {
    const first = this.#firstPart(linear, size, access);
    const guestAccess = this.#access(access);
    const address = this.#translate(linear, guestAccess);
    if (first === size) return this.#loadPart(address, size);
    const second = this.#translate(linear + BigInt(first), guestAccess);
    const low = this.#loadPart(address, first);
    return low | (this.#loadPart(second, size - first) << BigInt(8 * first));
  }

  /** Read what lies on one page. */
  #loadPart(address: number, size: number): bigint {
    const host = this.vcpu.vm.slots.hostAddressOf(address);
    if (host === -1) return this.#loadDevice(address, size);
    const { memory } = this.vcpu.kvm.host;
    if (this.writes.length === 0) {
      if (size === 8) return memory.readU64(host);
      if (size === 4) return BigInt(memory.readU32(host));
      if (size === 1) return BigInt(memory.readU8(host));
    }
    const bytes = memory.view(host, size).slice();
    this.#addOwnWrites(address, bytes);
    return valueOf(bytes);
  }

  /** What the instruction itself has written, and nobody has seen yet, comes before what is in memory. */
  #addOwnWrites(address: number, into: Uint8Array): void {
    for (const write of this.writes) {
      if (write.space !== "ram") continue;
      const first = Math.max(address, write.address);
      const end = Math.min(address + into.length, write.address + write.data.length);
      for (let at = first; at < end; at++) into[at - address] = write.data[at - write.address] as number;
    }
  }

  store(linear: bigint, size: AccessSize, value: bigint, access: MemoryAccess): void {
    const first = this.#firstPart(linear, size, access);
    const guestAccess = this.#access(access);
    const address = this.#translate(linear, guestAccess);
    const data = bytesOf(value, size);
    if (first === size) {
      this.#storePart(address, data);
      return;
    }
    const second = this.#translate(linear + BigInt(first), guestAccess);
    this.#storePart(address, data.slice(0, first));
    this.#storePart(second, data.slice(first));
  }

  #storePart(address: number, data: Uint8Array): void {
    const slot = this.vcpu.vm.slots.find(gfnOf(address));
    if (slot !== undefined && !slot.readonly) {
      this.writes.push({ space: "ram", address, data });
    } else if (data.length <= DEVICE_BYTES) {
      this.writes.push({ space: "memory", address, data });
    } else {
      for (let done = 0; done < data.length; done += DEVICE_BYTES) {
        this.writes.push({ space: "memory", address: address + done, data: data.slice(done, done + DEVICE_BYTES) });
      }
    }
  }

  /** Raise what an access to a range of any length would raise. */
  probe(linear: bigint, size: number, access: MemoryAccess): void {
    const guestAccess = this.#access(access);
    for (let done = this.#firstPart(linear, size, access), at = 0; at < size; done += PAGE_SIZE) {
      this.#translate(linear + BigInt(at), guestAccess);
      at = done;
    }
  }

  #loadDevice(address: number, size: number): bigint {
    const data = new Uint8Array(size);
    if (size <= DEVICE_BYTES) {
      this.#readDevice("memory", address, data);
      return valueOf(data);
    }
    for (let done = 0; done < size; done += DEVICE_BYTES) {
      this.#readDevice("memory", address + done, data.subarray(done, done + DEVICE_BYTES));
    }
    return valueOf(data);
  }

  /** One device read: answered before, by a device in the kernel, or still to be answered. */
  #readDevice(space: BusSpace, address: number, into: Uint8Array): void {
    const known = this.reads.at(this.#nextRead);
    if (known !== undefined) {
      this.#nextRead += 1;
      into.set(known.data.subarray(0, into.length));
      return;
    }
    if (!readDevice(this.vcpu, space, address, into)) {
      const needed = this.#readNeeded;
      needed.space = space;
      needed.address = address;
      needed.size = into.length;
      throw needed;
    }
    // A device in the kernel has answered: it may not be asked twice when the instruction starts over.
    this.reads = [...this.reads, { space, address, data: into.slice() }];
    this.#nextRead += 1;
  }

  readPort(port: number, size: 1 | 2 | 4): number {
    const bytes = new Uint8Array(size);
    this.#readDevice("port", port, bytes);
    return Number(valueOf(bytes));
  }

  writePort(port: number, size: 1 | 2 | 4, value: number): void {
    this.writes.push({ space: "port", address: port, data: bytesOf(BigInt(value >>> 0), size) });
  }
}
