import { KvmError, type Device, type IoBus } from "@tapvisor/kvm-core/contract";

interface Claim {
  readonly base: number;
  readonly end: number;
  readonly device: Device;
}

/**
 * A bus of ports or of guest physical addresses: who claims which bytes.
 *
 * An access goes to the one device that claims all of its bytes, as in struct kvm_io_bus; one that crosses the end of
 * a device reaches nobody.
 */
export class AddressBus implements IoBus {
  /** In order of address; no two overlap. */
  readonly #claims: Claim[] = [];
  /** Most accesses go where the one before went. */
  #last: Claim | undefined;

  attach(base: number, device: Device): { dispose(): void } {
    const claim = { base, end: base + device.size, device };
    if (!Number.isSafeInteger(base) || base < 0 || device.size <= 0) {
      throw new KvmError("EINVAL", "attach", `${device.name}: ${device.size} bytes at ${base} are no range of a bus`);
    }
    const other = this.#claims.find(({ base, end }) => base < claim.end && claim.base < end);
    if (other !== undefined) {
      throw new KvmError("EEXIST", "attach", `${device.name} at ${hex(base)} overlaps ${describe(other)}`);
    }
    const after = this.#claims.findIndex(({ base }) => base > claim.base);
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
    const claim = this.#find(address, data.length);
    claim?.device.read(address - claim.base, data);
    return claim !== undefined;
  }

  write(address: number, data: Uint8Array): boolean {
    const claim = this.#find(address, data.length);
    claim?.device.write(address - claim.base, data);
    return claim !== undefined;
  }

  devices(): readonly { readonly base: number; readonly device: Device }[] {
    return this.#claims.map(({ base, device }) => ({ base, device }));
  }

  #find(address: number, length: number): Claim | undefined {
    const last = this.#last;
    if (last !== undefined && last.base <= address && address + length <= last.end) return last;
    const claim = this.#claims.find(({ base, end }) => base <= address && address + length <= end);
    if (claim !== undefined) this.#last = claim;
    return claim;
  }
}

const hex = (value: number) => `0x${value.toString(16)}`;
const describe = ({ base, end, device }: Claim) => `${device.name} at ${hex(base)} to ${hex(end - 1)}`;
