import {
  CPU_BASED,
  CR0,
  INTR_INFO,
  PAGE_OFFSET_MASK,
  RFLAGS,
  SECONDARY_EXEC,
  VM_ENTRY,
  isPatType,
} from "@tapvisor/x86-isa";
import { TWO_32 } from "../../words.js";
import type { VmxCapabilities } from "../capabilities.js";
import { F } from "../fields.js";
import type { Vmcs } from "../vmcs.js";

const CR0_PE = Number(CR0.PE);
const RFLAGS_VM = Number(RFLAGS.VM);
const CR0_PG = Number(CR0.PG);

/** What every check needs to know of the processor besides the VMCS. */
export interface CheckEnvironment {
  readonly capabilities: VmxCapabilities;
  readonly physicalAddressBits: number;
  readonly linearAddressBits: number;
  /** Bits of IA32_EFER that exist. */
  readonly eferSupported: number;
  /** The low half of IA32_EFER in root operation. */
  rootEfer(): number;
  /** The first doubleword of the VMCS region at the page: revision identifier and shadow-VMCS indicator. */
  revisionAt(address: number): number;
}

/**
 * The VMCS under check, with what many checks have in common worked out once. Every value is a 32-bit word: a 64-bit
 * field is asked for by its low and high halves.
 */
export class Checked {
  words: Uint32Array = new Uint32Array(1024);
  pin = 0;
  primary = 0;
  /** 0 unless the secondary controls are active. */
  secondary = 0;
  exit = 0;
  entry = 0;
  /** Entry control "IA-32e mode guest". */
  ia32e = false;
  unrestricted = false;
  /** Guest RFLAGS.VM. */
  v86 = false;
  protectedMode = false;
  paging = false;
  /** VM-entry interruption-information field; `injecting` is its valid bit. */
  event = 0;
  injecting = false;
  /** PDPTEs of a guest that is about to use PAE paging, low and high words. */
  readonly pdptes = new Uint32Array(8);
  readonly #physicalShift: number;
  readonly #canonicalShift: number;

  constructor(readonly environment: CheckEnvironment) {
    this.#physicalShift = environment.physicalAddressBits - 32;
    this.#canonicalShift = environment.linearAddressBits - 33;
  }

  get capabilities(): VmxCapabilities {
    return this.environment.capabilities;
  }

  take(vmcs: Vmcs): void {
    const words = vmcs.words;
    this.words = words;
    this.pin = words[F.PIN_BASED_VM_EXEC_CONTROL] as number;
    this.primary = words[F.CPU_BASED_VM_EXEC_CONTROL] as number;
    const active = (this.primary & CPU_BASED.ACTIVATE_SECONDARY_CONTROLS) !== 0;
    this.secondary = active ? (words[F.SECONDARY_VM_EXEC_CONTROL] as number) : 0;
    this.exit = words[F.VM_EXIT_CONTROLS] as number;
    this.entry = words[F.VM_ENTRY_CONTROLS] as number;
    this.ia32e = (this.entry & VM_ENTRY.IA32E_MODE) !== 0;
    this.unrestricted = (this.secondary & SECONDARY_EXEC.UNRESTRICTED_GUEST) !== 0;
    this.v86 = ((words[F.GUEST_RFLAGS] as number) & RFLAGS_VM) !== 0;
    const cr0 = words[F.GUEST_CR0] as number;
    this.protectedMode = (cr0 & CR0_PE) !== 0;
    this.paging = (cr0 & CR0_PG) !== 0;
    this.event = words[F.VM_ENTRY_INTR_INFO_FIELD] as number;
    this.injecting = (this.event & INTR_INFO.VALID) !== 0;
  }

  low(field: number): number {
    return this.words[field] as number;
  }

  high(field: number): number {
    return this.words[field + 1] as number;
  }

  /** The 64-bit field is not a canonical linear address. */
  notCanonical(field: number): boolean {
    const top = ((this.words[field + 1] as number) | 0) >> this.#canonicalShift;
    return top !== 0 && top !== -1;
  }

  /** The bits of the 64-bit field past the linear-address width are not all alike. */
  unlikePastLinear(field: number): boolean {
    const top = ((this.words[field + 1] as number) | 0) >> (this.#canonicalShift + 1);
    return top !== 0 && top !== -1;
  }

  /** The 64-bit field has bits past the physical-address width. */
  pastPhysical(field: number): boolean {
    return (this.words[field + 1] as number) >>> this.#physicalShift !== 0;
  }

  /** Bits past the physical-address width are set in the high half of an address. */
  highPastPhysical(high: number): boolean {
    return high >>> this.#physicalShift !== 0;
  }

  /** The 64-bit field is not the address of a page. */
  notPage(field: number): boolean {
    return ((this.words[field] as number) & PAGE_OFFSET_MASK) !== 0 || this.pastPhysical(field);
  }

  /** The list of `count` MSR entries at the 64-bit field is misplaced. An empty list is never looked at. */
  badMsrList(count: number, field: number): boolean {
    const entries = this.words[count] as number;
    if (entries === 0) return false;
    if (((this.words[field] as number) & 0xf) !== 0 || this.pastPhysical(field)) return true;
    const end = (this.words[field] as number) + (this.words[field + 1] as number) * TWO_32 + entries * 16 - 1;
    return end >= 2 ** this.environment.physicalAddressBits;
  }

  /** A byte of the 64-bit field is not a memory type of the PAT. */
  badPat(field: number): boolean {
    for (let at = field; at <= field + 1; at++) {
      for (let shift = 0; shift < 32; shift += 8) {
        const type = ((this.words[at] as number) >>> shift) & 0xff;
        if (!isPatType(type)) return true;
      }
    }
    return false;
  }
}

/** One check of a VM entry. */
export interface EntryCheck {
  /** Section of SDM vol. 3 that the rule is in. */
  readonly section: string;
  /** The rule, as it has to hold. */
  readonly rule: string;
  /**
   * Kinds of field (`FIELD_KIND`) that the rule reads. It is checked again when software wrote one of them: what the
   * processor itself saved on a VM exit holds by construction.
   */
  readonly reads: number;
  /** Exit qualification of the failed entry, where the rule has one of its own. */
  readonly qualification?: number;
  readonly violated: (c: Checked) => boolean;
}
