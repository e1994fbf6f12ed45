import { GuestException, MSR, type CpuState } from "@tapvisor/x86-isa";
import type { Ram } from "../memory/ram.js";
import type { MsrFile } from "../processor/msrs.js";
import { TWO_32 } from "../words.js";
import { F } from "./fields.js";

const ENTRY_BYTES = 16;

/** MSRs that no list may load: those that have fields of the VMCS, and what belongs to SMM (SDM vol. 3, "Loading MSRs"). */
const NEVER_LOADED: ReadonlySet<number> = new Set([
  MSR.IA32_FS_BASE,
  MSR.IA32_GS_BASE,
  MSR.IA32_SMM_MONITOR_CTL,
  MSR.IA32_BIOS_UPDT_TRIG,
  MSR.IA32_BIOS_SIGN_ID,
]);
/** MSRs that no list may store: SMBASE is seen in SMM alone. */
const NEVER_STORED: ReadonlySet<number> = new Set([MSR.IA32_SMBASE]);

/** Bits 31:8 of the index of an x2APIC register. */
const isX2Apic = (index: number): boolean => index >>> 8 === MSR.IA32_X2APIC_BASE >>> 8;

const addressOf = (words: Uint32Array, field: number): number =>
  (words[field] as number) + (words[field + 1] as number) * TWO_32;

/** The MSR-load and MSR-store lists of VM entries and exits. An entry: index, 32 reserved bits, 64 bits of data. */
export class MsrLists {
  constructor(
    private readonly ram: Ram,
    private readonly msrs: MsrFile,
  ) {}

  /**
   * Load the MSRs of a list.
   *
   * @param switched the registers of the side that is being entered
   * @returns 0, or the number of the entry that fails, counted from 1
   */
  load(words: Uint32Array, countField: number, addressField: number, switched: CpuState): number {
    const count = words[countField] as number;
    const address = addressOf(words, addressField);
    for (let n = 0; n < count; n++) {
      if (!this.#loadOne(address + n * ENTRY_BYTES, switched)) return n + 1;
    }
    return 0;
  }

  /** Store the MSRs of the VM-exit list. Returns as {@link load} does. */
  store(words: Uint32Array, switched: CpuState): number {
    const count = words[F.VM_EXIT_MSR_STORE_COUNT] as number;
    const address = addressOf(words, F.VM_EXIT_MSR_STORE_ADDR);
    for (let n = 0; n < count; n++) {
      if (!this.#storeOne(address + n * ENTRY_BYTES, switched)) return n + 1;
    }
    return 0;
  }

  #loadOne(at: number, switched: CpuState): boolean {
    if (!this.ram.contains(at, ENTRY_BYTES)) return false;
    const index = this.ram.readU32(at);
    if (this.ram.readU32(at + 4) !== 0 || NEVER_LOADED.has(index) || isX2Apic(index)) return false;
    return noGeneralProtection(() => this.msrs.write(index, this.ram.readU64(at + 8), switched));
  }

  #storeOne(at: number, switched: CpuState): boolean {
    if (!this.ram.contains(at, ENTRY_BYTES)) return false;
    const index = this.ram.readU32(at);
    if (this.ram.readU32(at + 4) !== 0 || NEVER_STORED.has(index) || isX2Apic(index)) return false;
    return noGeneralProtection(() => this.ram.writeU64(at + 8, this.msrs.read(index, switched)));
  }
}

function noGeneralProtection(access: () => void): boolean {
  try {
    access();
    return true;
  } catch (thrown) {
    if (thrown instanceof GuestException) return false;
    throw thrown;
  }
}
