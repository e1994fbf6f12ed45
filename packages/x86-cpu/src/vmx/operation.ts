import { PAGE_SIZE, VMX_INSTRUCTION_ERROR } from "@tapvisor/x86-isa";
import type { VmxCapabilities } from "./capabilities.js";
import { VmcsLayout } from "./vmcs-layout.js";
import { Vmcs, VmcsAccess, type VmcsMemory } from "./vmcs.js";

/** Outcome of a VMX instruction (SDM vol. 3, "Conventions" of the VMX instruction reference). */
export type VmxStatus = 0 | 1 | 2;
export const VM_SUCCEED = 0;
export const VM_FAIL_INVALID = 1;
export const VM_FAIL_VALID = 2;

const NO_REVISION = 0xffffffff;
const ERROR = VMX_INSTRUCTION_ERROR;

/** VMX operation of one processor: the VMXON region, the current VMCS, and the instructions that manage them. */
export class VmxOperation {
  readonly access: VmcsAccess;
  /** The current VMCS. */
  current: Vmcs | undefined;
  /** Outcome of the newest VMREAD or VMWRITE. */
  status: VmxStatus = VM_SUCCEED;
  #on = false;
  #region = -1;
  /** Regions that have been current, so that switching among them makes no garbage. */
  readonly #seen = new Map<number, Vmcs>();

  constructor(
    private readonly memory: VmcsMemory,
    private readonly capabilities: VmxCapabilities,
    private readonly physicalAddressBits: number,
  ) {
    this.access = new VmcsAccess(capabilities.layout);
  }

  /** The processor is in VMX operation. */
  get on(): boolean {
    return this.#on;
  }

  /** VMXON, after what raises #UD and #GP. */
  vmxon(region: number): VmxStatus {
    if (this.#on) return this.fail(ERROR.VMXON_IN_VMX_ROOT_OPERATION);
    if (!this.#isPage(region) || this.#revisionAt(region) !== this.capabilities.revisionId) return VM_FAIL_INVALID;
    this.#on = true;
    this.#region = region;
    this.current = undefined;
    return VM_SUCCEED;
  }

  vmxoff(): VmxStatus {
    this.#on = false;
    this.#region = -1;
    this.current = undefined;
    return VM_SUCCEED;
  }

  vmclear(address: number): VmxStatus {
    if (!this.#isPage(address)) return this.fail(ERROR.VMCLEAR_INVALID_ADDRESS);
    if (address === this.#region) return this.fail(ERROR.VMCLEAR_VMXON_POINTER);
    if (this.#inMemory(address)) this.#at(address).clear();
    if (this.current?.address === address) this.current = undefined;
    return VM_SUCCEED;
  }

  vmptrld(address: number): VmxStatus {
    if (!this.#isPage(address)) return this.fail(ERROR.VMPTRLD_INVALID_ADDRESS);
    if (address === this.#region) return this.fail(ERROR.VMPTRLD_VMXON_POINTER);
    if (this.#revisionAt(address) !== this.capabilities.revisionId) {
      return this.fail(ERROR.VMPTRLD_INCORRECT_VMCS_REVISION_ID);
    }
    this.current = this.#at(address);
    return VM_SUCCEED;
  }

  /** VMfail with an error number; VMfailInvalid where no VMCS is there to hold it. */
  fail(error: number): VmxStatus {
    if (this.current === undefined) return VM_FAIL_INVALID;
    this.current.instructionError = error;
    return VM_FAIL_VALID;
  }

  /** The current VMCS for VMREAD and VMWRITE; notes VMfailInvalid where there is none. */
  forAccess(): Vmcs | undefined {
    this.status = this.current === undefined ? VM_FAIL_INVALID : VM_SUCCEED;
    return this.current;
  }

  /** Note the outcome of a VMREAD or VMWRITE: 0 or an error number. */
  settle(error: number): VmxStatus {
    return (this.status = error === 0 ? VM_SUCCEED : this.fail(error));
  }

  #isPage(address: number): boolean {
    return (
      Number.isInteger(address) && address >= 0 && address % PAGE_SIZE === 0 && address < 2 ** this.physicalAddressBits
    );
  }

  #inMemory(address: number): boolean {
    return address + VmcsLayout.REGION_BYTES <= this.memory.size;
  }

  /** Where there is no RAM all bits read as 1. */
  #revisionAt(address: number): number {
    return this.#inMemory(address) ? this.#at(address).revisionId : NO_REVISION;
  }

  #at(address: number): Vmcs {
    let vmcs = this.#seen.get(address);
    if (vmcs === undefined) this.#seen.set(address, (vmcs = new Vmcs(this.memory, address)));
    return vmcs;
  }
}
