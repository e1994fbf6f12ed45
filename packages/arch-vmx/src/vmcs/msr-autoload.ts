import { KvmError, type PhysicalMemory } from "@tapvisor/kvm-core/contract";
import { msrName, VMCS } from "@tapvisor/x86-isa";
import type { CurrentVmcs } from "./vmcs.js";

/** 4.9 reserves room for as many. */
const MAX_ENTRIES = 8;
const ENTRY_BYTES = 16;
/** The host's list is in the second half of the page. */
const HOST_LIST = 2048;

/**
 * MSRs that the processor itself loads at each entry and exit: the VM-entry and VM-exit MSR-load lists (SDM vol. 3,
 * "VM-Exit Controls for MSRs"), both in one page.
 */
export class MsrAutoload {
  readonly #indexes: number[] = [];

  constructor(
    private readonly memory: PhysicalMemory,
    private readonly page: number,
  ) {}

  get address(): number {
    return this.page;
  }

  get guestList(): number {
    return this.page;
  }

  get hostList(): number {
    return this.page + HOST_LIST;
  }

  set(vmcs: CurrentVmcs, msr: number, guest: bigint, host: bigint): void {
    let i = this.#indexes.indexOf(msr);
    if (i < 0) {
      i = this.#indexes.length;
      if (i === MAX_ENTRIES)
        throw new KvmError(
          "ENOSPC",
          "add_atomic_switch_msr",
          `no entry left in the MSR-load lists for ${msrName(msr)}`,
        );
      this.#indexes.push(msr);
      this.#writeCounts(vmcs);
    }
    this.#write(this.guestList, i, msr, guest);
    this.#write(this.hostList, i, msr, host);
  }

  clear(vmcs: CurrentVmcs, msr: number): void {
    const i = this.#indexes.indexOf(msr);
    if (i < 0) return;
    const last = this.#indexes.length - 1;
    for (const list of [this.guestList, this.hostList]) {
      const from = list + last * ENTRY_BYTES;
      this.#write(list, i, this.memory.readU32(from), this.memory.readU64(from + 8));
    }
    this.#indexes[i] = this.#indexes[last] ?? msr;
    this.#indexes.length = last;
    this.#writeCounts(vmcs);
  }

  #write(list: number, i: number, msr: number, value: bigint): void {
    const entry = list + i * ENTRY_BYTES;
    this.memory.writeU32(entry, msr);
    this.memory.writeU32(entry + 4, 0);
    this.memory.writeU64(entry + 8, value);
  }

  #writeCounts(vmcs: CurrentVmcs): void {
    vmcs.write32(VMCS.VM_ENTRY_MSR_LOAD_COUNT, this.#indexes.length);
    vmcs.write32(VMCS.VM_EXIT_MSR_LOAD_COUNT, this.#indexes.length);
  }
}
