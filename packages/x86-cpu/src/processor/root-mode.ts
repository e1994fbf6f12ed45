import { CR0, CR4, GuestException, slot, writeXcr0, type ControlRegisterModel, type CpuState } from "@tapvisor/x86-isa";
import type { CpuidLeaves, CpuidResult } from "../profiles/cpuid.js";
import type { Tlb } from "../paging/index.js";
import type { ProcessorProfile } from "../profiles/profile.js";
import type { VmxCapabilities } from "../vmx/capabilities.js";
import type { VmxOperation } from "../vmx/operation.js";
import { bootState } from "./boot-state.js";
import { loadFpu, saveFpu } from "./fxsave.js";
import type { HostInterrupts } from "./host-interrupts.js";
import type { MsrFile } from "./msrs.js";
import { HostGeneralProtection } from "./root-faults.js";

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
const isTable = (name: HostSegment): name is "gdtr" | "idtr" => name === "gdtr" || name === "idtr";

/** A fault of the guest's rules is #GP of the host here. */
function refuse(thrown: unknown, what: string): never {
  if (thrown instanceof GuestException) throw new HostGeneralProtection(what);
  throw thrown;
}

export interface RootModeParts {
  readonly id: number;
  readonly profile: ProcessorProfile;
  readonly state: CpuState;
  readonly root: CpuState;
  readonly cpuid: CpuidLeaves;
  readonly controls: ControlRegisterModel;
  readonly msrs: MsrFile;
  readonly interrupts: HostInterrupts;
  readonly tlb: Tlb;
  /** Absent on a processor without VT-x. */
  readonly vmx?: { readonly capabilities: VmxCapabilities; readonly operation: VmxOperation };
}

/**
 * One logical processor in root mode, but for its VMX instructions. An instruction that would raise #UD or #GP there
 * throws {@link HostUndefinedOpcode} or {@link HostGeneralProtection}.
 */
export class RootMode {
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

  constructor(private readonly parts: RootModeParts) {
    this.id = parts.id;
    this.#state = parts.state;
    this.#root = parts.root;
    this.#msrs = parts.msrs;
    this.#interrupts = parts.interrupts;
    const { buffer, base } = parts.state;
    this.gprs = new Uint32Array(buffer, base + slot("rax"), GPR_WORDS);
    this.cr2 = new Uint32Array(buffer, base + CR2, 2);
    bootState(parts.root, parts.state, parts.cpuid);
  }

  /** What the processor is. */
  get profile(): ProcessorProfile {
    return this.parts.profile;
  }

  /** The architectural state that the guest runs on, and that root mode shares in part. */
  get state(): CpuState {
    return this.#state;
  }

  cpuid(leaf: number, subleaf: number): CpuidResult {
    return this.parts.cpuid.read(leaf, subleaf, this.#root.get64(SWITCHED_CR[4]));
  }

  rdmsr(index: number): bigint {
    try {
      return this.#msrs.read(index, this.#root);
    } catch (thrown) {
      return refuse(thrown, `RDMSR 0x${index.toString(16)}`);
    }
  }

  wrmsr(index: number, value: bigint): void {
    try {
      this.#msrs.write(index, value, this.#root);
    } catch (thrown) {
      refuse(thrown, `WRMSR 0x${index.toString(16)}, 0x${value.toString(16)}`);
    }
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
    try {
      writeXcr0(this.#state, value, this.parts.controls);
    } catch (thrown) {
      refuse(thrown, `XSETBV 0, 0x${value.toString(16)}`);
    }
  }

  readPkru(): number {
    return this.#state.get32(PKRU);
  }

  writePkru(value: number): void {
    this.#state.set32(PKRU, value);
    this.parts.tlb.flush();
  }

  saveFpu(into: Uint8Array): void {
    saveFpu(this.#state, into);
  }

  loadFpu(from: Uint8Array): void {
    loadFpu(this.#state, from);
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
}
