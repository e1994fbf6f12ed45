import {
  CR4,
  EPTP,
  EPTP_PAGE_WALK_4,
  EPTP_RESERVED,
  EPTP_WALK_LENGTH_SHIFT,
  FEATURE_CONTROL,
  INVEPT_TYPE,
  INVVPID_TYPE,
  MEMORY_TYPE,
  VMX_EPT_VPID_CAP,
  VMX_INSTRUCTION_ERROR,
  isCanonical,
  type CapabilityField,
} from "@tapvisor/x86-isa";
import type { VmxCapabilities } from "../vmx/capabilities.js";
import { VM_FAIL_INVALID, VM_SUCCEED, type VmxOperation, type VmxStatus } from "../vmx/operation.js";
import type { WorldSwitch } from "../vmx/world-switch.js";
import { TWO_32, highWord, lowWord } from "../words.js";
import { HostGeneralProtection, HostUndefinedOpcode } from "./root-faults.js";
import { RootMode, type RootModeParts } from "./root-mode.js";

export interface ProcessorParts extends RootModeParts {
  /** Absent on a processor without VT-x. */
  readonly vmx?: {
    readonly capabilities: VmxCapabilities;
    readonly operation: VmxOperation;
    readonly worldSwitch: WorldSwitch;
    /** Remembers guest-physical mappings beside what the TLB holds. */
    readonly ept: { flush(): void };
    /** Instructions that have retired in non-root operation. */
    readonly retired: () => number;
  };
}

/** One logical processor as the hypervisor sees it: root mode, and the VMX instructions. */
export class Processor extends RootMode {
  readonly #own: ProcessorParts;

  constructor(parts: ProcessorParts) {
    super(parts);
    this.#own = parts;
  }

  /** Guest instructions that have retired on this processor. */
  get retired(): number {
    return this.#own.vmx?.retired() ?? 0;
  }

  vmxon(region: number): VmxStatus {
    const { vmx } = this.#own;
    const cr4 = this.readCr(4);
    if (vmx === undefined || (cr4 & CR4.VMXE) === 0n) throw new HostUndefinedOpcode("VMXON without CR4.VMXE");
    if (!vmx.operation.on) this.#checkVmxon(vmx.capabilities);
    return vmx.operation.vmxon(region);
  }

  vmxoff(): VmxStatus {
    return this.#operation("VMXOFF").vmxoff();
  }

  vmclear(vmcs: number): VmxStatus {
    return this.#operation("VMCLEAR").vmclear(vmcs);
  }

  vmptrld(vmcs: number): VmxStatus {
    return this.#operation("VMPTRLD").vmptrld(vmcs);
  }

  vmptrst(): number {
    return this.#operation("VMPTRST").current?.address ?? -1;
  }

  get vmxStatus(): VmxStatus {
    return this.#own.vmx?.operation.status ?? VM_FAIL_INVALID;
  }

  vmread32(field: number): number {
    const operation = this.#operation("VMREAD");
    const vmcs = operation.forAccess();
    if (vmcs === undefined) return 0;
    const value = operation.access.read32(vmcs, field);
    if (operation.access.readError !== 0) operation.settle(operation.access.readError);
    return value;
  }

  vmreadNumber(field: number): number {
    const operation = this.#operation("VMREAD");
    const vmcs = operation.forAccess();
    if (vmcs === undefined) return 0;
    const value = operation.access.readNumber(vmcs, field);
    if (operation.access.readError !== 0) operation.settle(operation.access.readError);
    return value;
  }

  vmread(field: number): bigint {
    const operation = this.#operation("VMREAD");
    const vmcs = operation.forAccess();
    if (vmcs === undefined) return 0n;
    const value = operation.access.read(vmcs, field);
    if (operation.access.readError !== 0) operation.settle(operation.access.readError);
    return value;
  }

  vmreadWords(field: number, into: Uint32Array, at: number): VmxStatus {
    const operation = this.#operation("VMREAD");
    const vmcs = operation.forAccess();
    if (vmcs === undefined) return VM_FAIL_INVALID;
    return operation.settle(operation.access.readWords(vmcs, field, into, at));
  }

  vmwrite32(field: number, value: number): VmxStatus {
    return this.vmwriteWords(field, value, 0);
  }

  vmwriteNumber(field: number, value: number): VmxStatus {
    return this.vmwriteWords(field, value % TWO_32, Math.floor(value / TWO_32));
  }

  vmwrite(field: number, value: bigint): VmxStatus {
    return this.vmwriteWords(field, lowWord(value), highWord(value));
  }

  vmwriteWords(field: number, low: number, high: number): VmxStatus {
    const operation = this.#operation("VMWRITE");
    const vmcs = operation.forAccess();
    if (vmcs === undefined) return VM_FAIL_INVALID;
    return operation.settle(operation.access.write(vmcs, field, low, high));
  }

  vmlaunch(): VmxStatus {
    return this.#enter("VMLAUNCH", true);
  }

  vmresume(): VmxStatus {
    return this.#enter("VMRESUME", false);
  }

  invept(type: number, eptp: number): VmxStatus {
    const { cap, operation } = this.#invalidation("INVEPT", VMX_EPT_VPID_CAP.INVEPT);
    const offered: Partial<Record<number, CapabilityField>> = {
      [INVEPT_TYPE.SINGLE_CONTEXT]: VMX_EPT_VPID_CAP.INVEPT_SINGLE_CONTEXT,
      [INVEPT_TYPE.ALL_CONTEXT]: VMX_EPT_VPID_CAP.INVEPT_ALL_CONTEXT,
    };
    const field = offered[type];
    const badPointer = type === INVEPT_TYPE.SINGLE_CONTEXT && !this.#isEptp(eptp, cap);
    if (field === undefined || !cap.eptVpidHas(field) || badPointer) {
      return operation.fail(VMX_INSTRUCTION_ERROR.INVALID_OPERAND_TO_INVEPT_INVVPID);
    }
    const single = type === INVEPT_TYPE.SINGLE_CONTEXT;
    this.#own.tlb.flush(single ? { eptp: [eptp % TWO_32, Math.floor(eptp / TWO_32)] } : {});
    this.#own.vmx?.ept.flush();
    return VM_SUCCEED;
  }

  invvpid(type: number, vpid: number, linear: bigint): VmxStatus {
    const { cap, operation } = this.#invalidation("INVVPID", VMX_EPT_VPID_CAP.INVVPID);
    const offered: Partial<Record<number, CapabilityField>> = {
      [INVVPID_TYPE.INDIVIDUAL_ADDR]: VMX_EPT_VPID_CAP.INVVPID_INDIVIDUAL_ADDR,
      [INVVPID_TYPE.SINGLE_CONTEXT]: VMX_EPT_VPID_CAP.INVVPID_SINGLE_CONTEXT,
      [INVVPID_TYPE.ALL_CONTEXT]: VMX_EPT_VPID_CAP.INVVPID_ALL_CONTEXT,
      [INVVPID_TYPE.SINGLE_CONTEXT_RETAINING_GLOBALS]: VMX_EPT_VPID_CAP.INVVPID_SINGLE_CONTEXT_RETAINING_GLOBALS,
    };
    const field = offered[type];
    const badVpid = type !== INVVPID_TYPE.ALL_CONTEXT && (vpid < 1 || vpid > 0xffff);
    const badLinear = type === INVVPID_TYPE.INDIVIDUAL_ADDR && !isCanonical(BigInt.asUintN(64, linear));
    if (field === undefined || !cap.eptVpidHas(field) || badVpid || badLinear) {
      return operation.fail(VMX_INSTRUCTION_ERROR.INVALID_OPERAND_TO_INVEPT_INVVPID);
    }
    const { tlb } = this.#own;
    switch (type) {
      case INVVPID_TYPE.INDIVIDUAL_ADDR:
        tlb.flushPage(lowWord(linear), highWord(linear), { vpid });
        break;
      case INVVPID_TYPE.ALL_CONTEXT:
        tlb.flush();
        break;
      default:
        tlb.flush({ vpid, keepGlobal: type === INVVPID_TYPE.SINGLE_CONTEXT_RETAINING_GLOBALS });
    }
    return VM_SUCCEED;
  }

  /** The check that the newest VM entry failed by: section of the manual and rule. */
  get entryViolation(): string | undefined {
    const violation = this.#own.vmx?.worldSwitch.violation;
    return violation === undefined ? undefined : `${violation.section}: ${violation.rule}`;
  }

  // --- parts

  #enter(name: string, launch: boolean): VmxStatus {
    const operation = this.#operation(name);
    const { vmx } = this.#own;
    return vmx === undefined ? VM_FAIL_INVALID : vmx.worldSwitch.enter(operation, launch);
  }

  #operation(instruction: string): VmxOperation {
    const operation = this.#own.vmx?.operation;
    if (operation?.on !== true) throw new HostUndefinedOpcode(`${instruction} outside VMX operation`);
    return operation;
  }

  #invalidation(instruction: string, field: CapabilityField): { cap: VmxCapabilities; operation: VmxOperation } {
    const operation = this.#operation(instruction);
    const cap = this.#own.vmx?.capabilities;
    if (cap?.eptVpidHas(field) !== true) throw new HostUndefinedOpcode(`${instruction} does not exist`);
    return { cap, operation };
  }

  /** The value would pass as EPTP of a VM entry (SDM vol. 3, "Checks on VM-Execution Control Fields"). */
  #isEptp(eptp: number, cap: VmxCapabilities): boolean {
    const low = eptp % TWO_32;
    const type = low & EPTP.MEMORY_TYPE;
    return (
      (type === MEMORY_TYPE.UC || type === MEMORY_TYPE.WB) &&
      (low & EPTP.WALK_LENGTH) >> EPTP_WALK_LENGTH_SHIFT === EPTP_PAGE_WALK_4 &&
      (low & EPTP_RESERVED) === 0 &&
      ((low & EPTP.ACCESSED_DIRTY) === 0 || cap.has("eptAccessedDirty")) &&
      eptp < 2 ** this.#own.profile.physicalAddressBits
    );
  }

  /** What makes VMXON raise #GP (SDM vol. 3, "Enabling and Entering VMX Operation"). */
  #checkVmxon(cap: VmxCapabilities): void {
    const refuse = (rule: string): never => {
      throw new HostGeneralProtection(`VMXON: ${rule}`);
    };
    const cr0 = this.readCr(0);
    const cr4 = this.readCr(4);
    if ((cr0 & cap.cr0Fixed0) !== cap.cr0Fixed0 || (cr0 & ~cap.cr0Fixed1) !== 0n) refuse("CR0 has a bit it forbids");
    if ((cr4 & cap.cr4Fixed0) !== cap.cr4Fixed0 || (cr4 & ~cap.cr4Fixed1) !== 0n) refuse("CR4 has a bit it forbids");
    const wanted = FEATURE_CONTROL.LOCKED | FEATURE_CONTROL.VMXON_ENABLED_OUTSIDE_SMX;
    if ((this.#own.msrs.featureControl & wanted) !== wanted) refuse("IA32_FEATURE_CONTROL does not enable it");
  }
}
