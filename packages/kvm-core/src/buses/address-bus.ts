import { type BusDevice, type IoBus, KvmError, type PlacedOnBus } from "../contract/index.js";

interface Claim extends PlacedOnBus {
  readonly end: number;
}

/**
 * Ports or guest physical addresses, and who claims which of them (struct kvm_io_bus): devices inside the kernel, which
 * answer without an exit to user space, and user space's own.
 *
 * An access goes to the one device that claims all of its bytes; one that crosses the end of a device reaches nobody.
 */
export class AddressBus implements IoBus {
  /** In order of address; no two overlap. */
  readonly #claims: Claim[] = [];
  /** Most accesses go where the one before went. */
  #last: Claim | undefined;
  /** Addresses whose accesses never leave the guest, so that a device there would not be reached. */
  readonly #passedThrough = new Set<number>();

  /** @param limit first address behind the bus */
  constructor(readonly limit: number) {}

  attach(base: number, device: BusDevice): { dispose(): void } {
    return this.#attach({ base, end: base + device.size, device, inKernel: false });
  }

  /** Put a device of the kernel's on the bus. */
  attachKernel(base: number, device: BusDevice): { dispose(): void } {
    return this.#attach({ base, end: base + device.size, device, inKernel: true });
  }

  /**
   * The backend is about to let guests access an address without an exit: false where a device is there. From then on
   * none can be.
   */
  passThrough(address: number): boolean {
    if (this.find(address, 1) !== undefined) return false;
    this.#passedThrough.add(address);
    return true;
  }

  #attach(claim: Claim): { dispose(): void } {
    const { base, end, device } = claim;
    if (!Number.isSafeInteger(base) || base < 0 || !(end > base) || end > this.limit) {
      const what = `${device.name}: ${device.size} bytes at ${base}`;
      throw new KvmError("EINVAL", "attach", `${what} are no range of a bus of ${hex(this.limit)} addresses`);
    }
    for (const address of this.#passedThrough) {
      if (address < base || address >= end) continue;
      throw new KvmError(
        "EBUSY",
        "attach",
        `${device.name} at ${hex(base)}: guests access ${hex(address)} directly since the first vCPU was made`,
      );
    }
    const other = this.#claims.find((candidate) => candidate.base < end && base < candidate.end);
    if (other !== undefined) {
      throw new KvmError("EEXIST", "attach", `${device.name} at ${hex(base)} overlaps ${describe(other)}`);
    }
    const after = this.#claims.findIndex((candidate) => candidate.base > base);
    this.#claims.splice(after === -1 ? this.#claims.length : after, 0, claim);
    return {
      dispose: () => {
        const index = this.#claims.indexOf(claim);
        if (index !== -1) this.#claims.splice(index, 1);
        this.#last = undefined;
      },
    };
  }

  read(address: number, data: Uint8Array): boolean {
    const found = this.find(address, data.length);
    found?.device.read(address - found.base, data);
    return found !== undefined;
  }

  write(address: number, data: Uint8Array): boolean {
    const found = this.find(address, data.length);
    found?.device.write(address - found.base, data);
    return found !== undefined;
  }

  devices(): readonly PlacedOnBus[] {
    return this.#claims.map(({ base, device, inKernel }) => ({ base, device, inKernel }));
  }

  find(address: number, length: number): PlacedOnBus | undefined {
    const end = address + length;
    const last = this.#last;
    if (last !== undefined && last.base <= address && end <= last.end) return last;
    for (const claim of this.#claims) {
      if (address < claim.base) return undefined;
      if (end <= claim.end) return (this.#last = claim);
    }
    return undefined;
  }
}

const hex = (value: number): string => `0x${value.toString(16)}`;
const describe = ({ base, end, device }: Claim): string => `${device.name} at ${hex(base)} to ${hex(end - 1)}`;
