import {
  CPUID,
  CR0,
  CR4,
  EFER,
  FEATURE_CONTROL,
  GuestException,
  INVEPT_TYPE,
  INVVPID_TYPE,
  SEGMENT_NAMES,
  VMX_EPT_VPID_CAP,
  VMX_INSTRUCTION_ERROR,
  isCanonical,
  slot,
  writeXcr0,
  type CapabilityField,
  type ControlRegisterModel,
  type CpuState,
  type SegmentName,
} from "@tapvisor/x86-isa";
import type { CpuidLeaves, CpuidResult } from "../profiles/cpuid.js";
import type { ProcessorProfile } from "../profiles/profile.js";
import type { VmxCapabilities } from "../vmx/capabilities.js";
import { VM_FAIL_INVALID, VM_SUCCEED, type VmxOperation, type VmxStatus } from "../vmx/operation.js";
import type { WorldSwitch } from "../vmx/world-switch.js";
import { loadFxsave, saveFxsave } from "./fxsave.js";
import type { HostInterrupts } from "./host-interrupts.js";
import type { MsrFile } from "./msrs.js";
import { HostGeneralProtection, HostUndefinedOpcode } from "./root-faults.js";

/** A segment register of root operation; `gdtr` and `idtr` have no selector. */
export type HostSegment = "es" | "cs" | "ss" | "ds" | "fs" | "gs" | "ldtr" | "tr" | "gdtr" | "idtr";

export interface HostSegmentValue {
  readonly selector: number;
  readonly base: bigint;
  readonly limit: number;
}

type HostCr = 0 | 2 | 3 | 4 | 8;
type HostDr = 0 | 1 | 2 | 3 | 6 | 7;

const GPR_WORDS = 32;
const CR2 = slot("cr2");
const CR8 = slot("cr8");
const XCR0 = slot("xcr0");
const PKRU = slot("pkru");
/** Control registers that a VM entry and exit switch. */
const SWITCHED_CR = { 0: slot("cr0"), 3: slot("cr3"), 4: slot("cr4") } as const;
const DR = { 0: slot("dr0"), 1: slot("dr1"), 2: slot("dr2"), 3: slot("dr3"), 6: slot("dr6"), 7: slot("dr7") } as const;
const TABLES = {
  gdtr: [slot("gdtr.base"), slot("gdtr.limit")],
  idtr: [slot("idtr.base"), slot("idtr.limit")],
} as const;
const EFER_AT = slot("efer");

const FLAT_CODE64 = 0xa09b;
const FLAT_DATA = 0xc093;
const BUSY_TSS = 0x8b;
const UNUSABLE = 0x10000;
/** Selectors as Linux gives them on x86-64: __KERNEL_CS, __KERNEL_DS, GDT_ENTRY_TSS. */
const KERNEL_CS = 0x10;
const KERNEL_DS = 0x18;
const KERNEL_TR = 0x40;
const PAT_RESET = 0x0007_0406_0007_0406n;

const isTable = (name: HostSegment): name is "gdtr" | "idtr" => name === "gdtr" || name === "idtr";

export interface ProcessorParts {
  readonly id: number;
  readonly profile: ProcessorProfile;
  readonly state: CpuState;
  readonly root: CpuState;
  readonly cpuid: CpuidLeaves;
  readonly controls: ControlRegisterModel;
  readonly msrs: MsrFile;
  readonly interrupts: HostInterrupts;
  readonly flushTlb: () => void;
  /** Absent on a processor without VT-x. */
  readonly vmx?: {
    readonly capabilities: VmxCapabilities;
    readonly operation: VmxOperation;
    readonly worldSwitch: WorldSwitch;
    /** Instructions that have retired in non-root operation. */
    readonly retired: () => number;
  };
}

/**
 * One logical processor in root mode: the hypervisor's view of it. An instruction that would raise #UD or #GP there
 * throws {@link HostUndefinedOpcode} or {@link HostGeneralProtection}.
 */
export class Processor {
  readonly id: number;
  online = true;
  /**
   * The 16 general registers, two little-endian words each, in encoding order. The guest runs with these very bytes; RSP
   * (4) is of no meaning in root mode.
   */
  readonly gprs: Uint32Array;
  /** CR2 in place, the low word first: neither VM entry nor VM exit touches it. */
  readonly cr2: Uint32Array;
  readonly #state: CpuState;
  readonly #root: CpuState;
  readonly #msrs: MsrFile;
  readonly #interrupts: HostInterrupts;

  constructor(private readonly parts: ProcessorParts) {
    this.id = parts.id;
    this.#state = parts.state;
    this.#root = parts.root;
    this.#msrs = parts.msrs;
    this.#interrupts = parts.interrupts;
    const { buffer, base } = parts.state;
    this.gprs = new Uint32Array(buffer, base + slot("rax"), GPR_WORDS);
    this.cr2 = new Uint32Array(buffer, base + CR2, 2);
    this.#reset();
  }

  /** What the processor is. */
  get profile(): ProcessorProfile {
    return this.parts.profile;
  }

  /** The architectural state that the guest runs on, and that root mode shares in part. */
  get state(): CpuState {
    return this.#state;
  }

  /** Guest instructions that have retired on this processor. */
  get retired(): number {
    return this.parts.vmx?.retired() ?? 0;
  }

  // --- root mode

  cpuid(leaf: number, subleaf: number): CpuidResult {
    return this.parts.cpuid.read(leaf, subleaf, this.#root.get64(SWITCHED_CR[4]));
  }

  rdmsr(index: number): bigint {
    return this.#guard(`RDMSR 0x${index.toString(16)}`, () => this.#msrs.read(index, this.#root));
  }

  wrmsr(index: number, value: bigint): void {
    this.#guard(`WRMSR 0x${index.toString(16)}, 0x${value.toString(16)}`, () =>
      this.#msrs.write(index, value, this.#root),
    );
  }

  rdtsc(): bigint {
    return BigInt(this.#msrs.tsc());
  }

  tsc(): number {
    return this.#msrs.tsc();
  }

  readCr(cr: HostCr): bigint {
    if (cr === 2) return this.#state.get64(CR2);
    if (cr === 8) return this.#state.get64(CR8);
    return this.#root.get64(SWITCHED_CR[cr]);
  }

  writeCr(cr: HostCr, value: bigint): void {
    if (cr === 2) {
      this.#state.set64(CR2, value);
      return;
    }
    const refuse = (rule: string): never => {
      throw new HostGeneralProtection(`MOV to CR${cr}, 0x${value.toString(16)}: ${rule}`);
    };
    if (cr === 8) {
      if (value > 0xfn) refuse("bits 63:4 are reserved");
      this.#state.set64(CR8, value);
      return;
    }
    const inVmx = this.parts.vmx?.operation.on === true;
    const { controls, vmx } = this.parts;
    if (cr === 0) {
      if (value >> 32n !== 0n) refuse("bits 63:32 are reserved");
      if ((value & CR0.PG) === 0n) refuse("root mode has paging");
      if (inVmx && vmx !== undefined && (value & vmx.capabilities.cr0Fixed0) !== vmx.capabilities.cr0Fixed0) {
        refuse("VMX operation fixes PE, NE and PG");
      }
    }
    if (cr === 3 && value >> BigInt(controls.physicalAddressBits) !== 0n) refuse("it exceeds the address width");
    if (cr === 4) {
      if ((value & ~controls.cr4Allowed) !== 0n) refuse("the processor does not have the feature");
      if ((value & CR4.PAE) === 0n) refuse("root mode is IA-32e mode");
      if (inVmx && (value & CR4.VMXE) === 0n) refuse("VMX operation fixes VMXE");
    }
    this.#root.set64(SWITCHED_CR[cr], value);
  }

  readDr(dr: HostDr): bigint {
    return (dr === 7 ? this.#root : this.#state).get64(DR[dr]);
  }

  writeDr(dr: HostDr, value: bigint): void {
    if (dr >= 6 && value >> 32n !== 0n) throw new HostGeneralProtection(`MOV to DR${dr}: bits 63:32 are reserved`);
    (dr === 7 ? this.#root : this.#state).set64(DR[dr], value);
  }

  readXcr0(): bigint {
    return this.#state.get64(XCR0);
  }

  writeXcr0(value: bigint): void {
    this.#guard(`XSETBV 0, 0x${value.toString(16)}`, () => writeXcr0(this.#state, value, this.parts.controls));
  }

  readPkru(): number {
    return this.#state.get32(PKRU);
  }

  writePkru(value: number): void {
    this.#state.set32(PKRU, value);
    this.parts.flushTlb();
  }

  saveFpu(into: Uint8Array): void {
    saveFxsave(this.#state, into);
  }

  loadFpu(from: Uint8Array): void {
    loadFxsave(this.#state, from);
  }

  readSegment(name: HostSegment): HostSegmentValue {
    if (isTable(name)) {
      const [base, limit] = TABLES[name];
      return { selector: 0, base: this.#root.get64(base), limit: this.#root.get32(limit) };
    }
    const { selector, base, limit } = this.#root.segment(name);
    return { selector, base, limit };
  }

  writeSegment(name: HostSegment, value: HostSegmentValue): void {
    if (isTable(name)) {
      const [base, limit] = TABLES[name];
      this.#root.set64(base, value.base);
      this.#root.set32(limit, value.limit);
      return;
    }
    this.#root.setSegment(name, { ...this.#root.segment(name), ...value });
  }

  raiseInterrupt(vector: number): void {
    this.#interrupts.raise(vector);
  }

  acknowledgeInterrupt(): number {
    return this.#interrupts.acknowledge();
  }

  get interruptPending(): boolean {
    return this.#interrupts.pending;
  }

  raiseNmi(): void {
    this.#interrupts.nmiPending = true;
  }

  setTimer(cycles: number | undefined): void {
    this.#interrupts.setTimer(cycles === undefined ? undefined : cycles - this.#msrs.tscAdjust);
  }

  // --- VMX instructions

  vmxon(region: number): VmxStatus {
    const { vmx } = this.parts;
    const cr4 = this.#root.get64(SWITCHED_CR[4]);
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
    return this.parts.vmx?.operation.status ?? VM_FAIL_INVALID;
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
    return this.vmwriteWords(field, value % 0x1_0000_0000, Math.floor(value / 0x1_0000_0000));
  }

  vmwrite(field: number, value: bigint): VmxStatus {
    const low = Number(BigInt.asUintN(32, value));
    return this.vmwriteWords(field, low, Number(BigInt.asUintN(32, value >> 32n)));
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
    const badPointer = type === INVEPT_TYPE.SINGLE_CONTEXT && !this.#isEptp(eptp);
    if (field === undefined || !cap.eptVpidHas(field) || badPointer) {
      return operation.fail(VMX_INSTRUCTION_ERROR.INVALID_OPERAND_TO_INVEPT_INVVPID);
    }
    this.parts.flushTlb();
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
    this.parts.flushTlb();
    return VM_SUCCEED;
  }

  /** The check that the newest VM entry failed by: section of the manual and rule. */
  get entryViolation(): string | undefined {
    const violation = this.parts.vmx?.worldSwitch.violation;
    return violation === undefined ? undefined : `${violation.section}: ${violation.rule}`;
  }

  // --- parts

  #enter(name: string, launch: boolean): VmxStatus {
    const operation = this.#operation(name);
    const { vmx } = this.parts;
    return vmx === undefined ? VM_FAIL_INVALID : vmx.worldSwitch.enter(operation, launch);
  }

  #operation(instruction: string): VmxOperation {
    const operation = this.parts.vmx?.operation;
    if (operation?.on !== true) throw new HostUndefinedOpcode(`${instruction} outside VMX operation`);
    return operation;
  }

  #invalidation(instruction: string, field: CapabilityField): { cap: VmxCapabilities; operation: VmxOperation } {
    const operation = this.#operation(instruction);
    const cap = this.parts.vmx?.capabilities;
    if (cap?.eptVpidHas(field) !== true) throw new HostUndefinedOpcode(`${instruction} does not exist`);
    return { cap, operation };
  }

  /** The value would pass as EPTP of a VM entry, but for its address. */
  #isEptp(eptp: number): boolean {
    const type = eptp % 8;
    return (type === 0 || type === 6) && Math.floor(eptp / 8) % 8 === 3;
  }

  /** What makes VMXON raise #GP (SDM vol. 3, "Enabling and Entering VMX Operation"). */
  #checkVmxon(cap: VmxCapabilities): void {
    const refuse = (rule: string): never => {
      throw new HostGeneralProtection(`VMXON: ${rule}`);
    };
    const cr0 = this.#root.get64(SWITCHED_CR[0]);
    const cr4 = this.#root.get64(SWITCHED_CR[4]);
    if ((cr0 & cap.cr0Fixed0) !== cap.cr0Fixed0 || (cr0 & ~cap.cr0Fixed1) !== 0n) refuse("CR0 has a bit it forbids");
    if ((cr4 & cap.cr4Fixed0) !== cap.cr4Fixed0 || (cr4 & ~cap.cr4Fixed1) !== 0n) refuse("CR4 has a bit it forbids");
    const wanted = FEATURE_CONTROL.LOCKED | FEATURE_CONTROL.VMXON_ENABLED_OUTSIDE_SMX;
    if ((this.#msrs.featureControl & wanted) !== wanted) refuse("IA32_FEATURE_CONTROL does not enable it");
  }

  #guard<T>(what: string, access: () => T): T {
    try {
      return access();
    } catch (thrown) {
      if (thrown instanceof GuestException) throw new HostGeneralProtection(what);
      throw thrown;
    }
  }

  /** The state of a kernel that has booted on this processor: 64-bit mode with paging. */
  #reset(): void {
    const root = this.#root;
    const shared = this.#state;
    const has = (feature: keyof typeof CPUID): boolean => this.parts.cpuid.has(feature);
    root.set64(SWITCHED_CR[0], CR0.PE | CR0.MP | CR0.ET | CR0.NE | CR0.WP | CR0.AM | CR0.PG);
    const optional: readonly (readonly [keyof typeof CPUID, bigint])[] = [
      ["PGE", CR4.PGE],
      ["MCE", CR4.MCE],
      ["SMEP", CR4.SMEP],
      ["SMAP", CR4.SMAP],
      ["FXSR", CR4.OSFXSR],
      ["SSE", CR4.OSXMMEXCPT],
      ["XSAVE", CR4.OSXSAVE],
    ];
    root.set64(
      SWITCHED_CR[4],
      optional.reduce((cr4, [feature, bit]) => (has(feature) ? cr4 | bit : cr4), CR4.PAE | CR4.PSE),
    );
    root.set64(EFER_AT, EFER.SCE | EFER.LME | EFER.LMA | EFER.NXE);
    root.set64(slot("pat"), PAT_RESET);
    root.eflags = 2;
    const rights: Partial<Record<SegmentName, readonly [selector: number, rights: number]>> = {
      cs: [KERNEL_CS, FLAT_CODE64],
      ss: [KERNEL_DS, FLAT_DATA],
      tr: [KERNEL_TR, BUSY_TSS],
    };
    for (const name of SEGMENT_NAMES) {
      const [selector, access] = rights[name] ?? [0, UNUSABLE];
      const limit = name === "tr" ? 0x67 : 0xffff_ffff;
      root.setSegment(name, { selector, base: 0n, limit, rights: access });
    }
    root.set64(DR[7], 0x400n);
    shared.set64(DR[6], 0xffff_0ff0n);
    shared.set64(XCR0, 1n);
    shared.set32(slot("mxcsr"), 0x1f80);
    shared.view.setUint16(slot("fcw"), 0x37f, true);
    shared.view.setUint16(slot("ftw"), 0xffff, true);
    shared.eflags = 2;
    for (const name of SEGMENT_NAMES) shared.setSegment(name, root.segment(name));
    shared.set64(SWITCHED_CR[0], root.get64(SWITCHED_CR[0]));
    shared.set64(SWITCHED_CR[4], root.get64(SWITCHED_CR[4]));
    shared.set64(EFER_AT, root.get64(EFER_AT));
  }
}
