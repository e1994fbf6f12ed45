import { VMX_INSTRUCTION_ERROR } from "@tapvisor/x86-isa";
import { TWO_32 } from "../words.js";
import { FIELD_ACCESS, FIELD_KIND, VMCS_HEADER, VmcsLayout, vmcsWord } from "./vmcs-layout.js";

/** What a VMCS needs of the host's RAM. */
export interface VmcsMemory {
  readonly size: number;
  /** The bytes themselves, not a copy. */
  view(address: number, length: number): Uint8Array;
}

const INSTRUCTION_ERROR = vmcsWord("VM_INSTRUCTION_ERROR");

/** A VMCS region in memory, reached word by word. The region holds all there is: the object is but a way to it. */
export class Vmcs {
  readonly words: Uint32Array;

  /** @param address physical, a page inside RAM */
  constructor(
    memory: VmcsMemory,
    readonly address: number,
  ) {
    const bytes = memory.view(address, VmcsLayout.REGION_BYTES);
    this.words = new Uint32Array(bytes.buffer, bytes.byteOffset, VmcsLayout.REGION_BYTES >> 2);
  }

  get revisionId(): number {
    return this.words[VMCS_HEADER.REVISION_ID] as number;
  }

  get launched(): boolean {
    return this.words[VMCS_HEADER.LAUNCHED] !== 0;
  }

  set launched(value: boolean) {
    this.words[VMCS_HEADER.LAUNCHED] = value ? 1 : 0;
  }

  /** Kinds of field that software wrote since the newest VM entry that passed its checks. */
  get written(): number {
    return this.words[VMCS_HEADER.WRITTEN] as number;
  }

  set written(kinds: number) {
    this.words[VMCS_HEADER.WRITTEN] = kinds;
  }

  /** Make the launch state clear; software's next VM entry is checked whole. */
  clear(): void {
    this.launched = false;
    this.written = FIELD_KIND.ALL;
  }

  /** The word at `index` (see {@link vmcsWord}). */
  get32(index: number): number {
    return this.words[index] as number;
  }

  get64(index: number): bigint {
    return BigInt(this.words[index] as number) | (BigInt(this.words[index + 1] as number) << 32n);
  }

  set instructionError(error: number) {
    this.words[INSTRUCTION_ERROR] = error;
  }
}

const MAX_NUMBER_HIGH = 0x1fffff;

/**
 * VMREAD and VMWRITE on one VMCS. A refusal is the VM-instruction error number, success 0 (SDM vol. 3, "VMREAD - Read
 * Field from Virtual-Machine Control Structure", "VMWRITE - Write Field to Virtual-Machine Control Structure").
 */
export class VmcsAccess {
  readonly #access: Uint32Array;
  /** Outcome of the newest read. */
  readError = 0;

  constructor(layout: VmcsLayout) {
    this.#access = layout.access;
  }

  read32(vmcs: Vmcs, field: number): number {
    const access = this.#find(field);
    return access === 0 ? 0 : vmcs.get32(access & FIELD_ACCESS.WORD);
  }

  /** The low 53 bits of a field. */
  readNumber(vmcs: Vmcs, field: number): number {
    const access = this.#find(field);
    if (access === 0) return 0;
    const word = access & FIELD_ACCESS.WORD;
    const low = vmcs.get32(word);
    return (access & FIELD_ACCESS.W64) === 0 ? low : low + (vmcs.get32(word + 1) & MAX_NUMBER_HIGH) * TWO_32;
  }

  read(vmcs: Vmcs, field: number): bigint {
    const access = this.#find(field);
    if (access === 0) return 0n;
    const word = access & FIELD_ACCESS.WORD;
    return (access & FIELD_ACCESS.W64) === 0 ? BigInt(vmcs.get32(word)) : vmcs.get64(word);
  }

  /** The whole field as two words, the low one at `into[at]`. Returns 0 or the error number. */
  readWords(vmcs: Vmcs, field: number, into: Uint32Array, at: number): number {
    const access = this.#access[field] ?? 0;
    if (access === 0) return VMX_INSTRUCTION_ERROR.UNSUPPORTED_VMCS_COMPONENT;
    const word = access & FIELD_ACCESS.WORD;
    into[at] = vmcs.get32(word);
    into[at + 1] = (access & FIELD_ACCESS.W64) === 0 ? 0 : vmcs.get32(word + 1);
    return 0;
  }

  /** Write `low` and, where the field has 64 bits, `high`. */
  write(vmcs: Vmcs, field: number, low: number, high: number): number {
    const access = this.#access[field] ?? 0;
    if (access === 0) return VMX_INSTRUCTION_ERROR.UNSUPPORTED_VMCS_COMPONENT;
    if ((access & FIELD_ACCESS.READ_ONLY) !== 0) return VMX_INSTRUCTION_ERROR.VMWRITE_READ_ONLY_VMCS_COMPONENT;
    const words = vmcs.words;
    const word = access & FIELD_ACCESS.WORD;
    words[word] = (access & FIELD_ACCESS.W16) === 0 ? low : low & 0xffff;
    if ((access & FIELD_ACCESS.W64) !== 0) words[word + 1] = high;
    words[VMCS_HEADER.WRITTEN] = (words[VMCS_HEADER.WRITTEN] as number) | (access >>> FIELD_ACCESS.KIND_SHIFT);
    return 0;
  }

  #find(field: number): number {
    const access = this.#access[field] ?? 0;
    this.readError = access === 0 ? VMX_INSTRUCTION_ERROR.UNSUPPORTED_VMCS_COMPONENT : 0;
    return access;
  }
}
