import {
  type AccessSize, CPUID_LEAF, CR0, CpuState, DR7_LOCAL, type DecodedInstruction, EFER, GuestException, type InterruptEvent, MSR, type ExecutionEnvironment, type MemoryAccess,
  RFLAGS, SEGMENT_RIGHTS, type TaskSwitch, type TaskSwitchOutcome, VECTOR, deliverEvent, slot, switchTask,
} from "@tapvisor/x86-isa"; // prettier-ignore
import { REQUEST, type MsrAccess } from "../contract/index.js";
import { cpuidOf } from "../cpuid/emulate.js";
import { mmuInvlpg } from "../mmu/context.js";
import { getMsr, setMsr } from "../msr/access.js";
import { readPmc } from "../pmu/pmu.js";
import { getCr8, readCr0, readCr3, readCr4 } from "../registers/control.js";
import { getDr, setDrOnly } from "../registers/debug.js";
import { lmsw, setCr0, setCr3, setCr4, setCr8 } from "../registers/set-control.js";
import { setXcrOnly } from "../registers/xcr.js";
import { makeRequest } from "../requests.js";
import { readL1Tsc } from "../time/tsc.js";
import type { VcpuState } from "../state/vcpu-state.js";
import { DecodeCache } from "./decoded.js";
import { loadControlState, Snapshot } from "./registers.js";
import { EmulatorMemory } from "./memory.js";
import { CannotEmulate, type CompletedRead } from "./state.js";

/** EBX, ECX and EDX of CPUID leaf 0: "AuthenticAMD" and the older "AMDisbetter!". */
const AMD_VENDORS = [
  [0x68747541, 0x444d4163, 0x69746e65],
  [0x69444d41, 0x21726574, 0x74656273],
] as const;

const FAST_CALL_MSRS = [
  [MSR.IA32_STAR, slot("star")],
  [MSR.IA32_LSTAR, slot("lstar")],
  [MSR.IA32_CSTAR, slot("cstar")],
  [MSR.IA32_FMASK, slot("sfmask")],
  [MSR.IA32_SYSENTER_CS, slot("sysenter_cs")],
  [MSR.IA32_SYSENTER_ESP, slot("sysenter_esp")],
  [MSR.IA32_SYSENTER_EIP, slot("sysenter_eip")],
] as const;

const XCR0_AT = slot("xcr0");
const GENERAL_PROTECTION = 0;

/**
 * What one instruction of a vCPU is emulated in: its memory by way of the guest's page tables and the
 * slots, everything else by way of the core's own functions and the backend's ops (x86_emulate_ops).
 */
export class EmulatorEnvironment implements ExecutionEnvironment {
  readonly state = new CpuState();
  readonly decoded = new DecodeCache();
  /** What the state was before the instruction. */
  readonly before = new Snapshot();
  readonly memory: EmulatorMemory;
  /** HLT was executed. */
  halted = false;
  /** The instruction has switched to another task. */
  newTask: TaskSwitchOutcome | undefined;

  constructor(readonly vcpu: VcpuState) {
    this.memory = new EmulatorMemory(vcpu, this.state);
  }

  /** em_syscall_is_enabled: the vendor that the guest sees decides, unless the host makes no difference. */
  get legacySyscall(): boolean {
    if (this.vcpu.kvm.host.options.foreignSyscall) return true;
    const { ebx, ecx, edx } = cpuidOf(this.vcpu, CPUID_LEAF.VENDOR, 0);
    return AMD_VENDORS.some(([b, c, d]) => ebx === b && ecx === c && edx === d);
  }

  /** The MSRs of SYSCALL and SYSENTER, which no other instruction needs in the state. */
  loadFastCallMsrs(): void {
    for (const [msr, at] of FAST_CALL_MSRS) this.state.set64(at, this.readMsr(msr));
  }

  begin(reads: readonly CompletedRead[]): void {
    this.memory.begin(reads);
    this.halted = false;
    this.newTask = undefined;
  }

  // --- memory and ports

  load(linear: bigint, size: AccessSize, access: MemoryAccess): bigint {
    return this.memory.load(linear, size, access);
  }

  store(linear: bigint, size: AccessSize, value: bigint, access: MemoryAccess): void {
    this.memory.store(linear, size, value, access);
  }

  probe(linear: bigint, size: number, access: MemoryAccess): void {
    this.memory.probe(linear, size, access);
  }

  in(port: number, size: 1 | 2 | 4, _instruction: DecodedInstruction): number {
    return this.memory.readPort(port, size);
  }

  out(port: number, size: 1 | 2 | 4, value: number, _instruction: DecodedInstruction): void {
    this.memory.writePort(port, size, value);
  }

  stringIo(): void {
    // Nothing intercepts the emulator.
  }

  // --- the processor

  cpuid(leaf: number, subleaf: number): { eax: number; ebx: number; ecx: number; edx: number } {
    const { eax, ebx, ecx, edx } = cpuidOf(this.vcpu, leaf, subleaf);
    return { eax, ebx, ecx, edx };
  }

  readMsr(index: number): bigint {
    const msr: MsrAccess = { index, data: 0n, hostInitiated: false };
    if (getMsr(this.vcpu, msr)) throw new GuestException(VECTOR.GP, GENERAL_PROTECTION);
    return msr.data;
  }

  writeMsr(index: number, value: bigint): void {
    if (setMsr(this.vcpu, { index, data: value, hostInitiated: false })) {
      throw new GuestException(VECTOR.GP, GENERAL_PROTECTION);
    }
    loadControlState(this);
  }

  readTsc(): bigint {
    return readL1Tsc(this.vcpu);
  }

  readPmc(index: number): bigint {
    const value = readPmc(this.vcpu, index);
    if (value === undefined) throw new GuestException(VECTOR.GP, GENERAL_PROTECTION);
    return value;
  }

  readXcr(index: number): bigint {
    if (index !== 0) throw new GuestException(VECTOR.GP, GENERAL_PROTECTION);
    return this.vcpu.arch.xcr0;
  }

  writeXcr(index: number, value: bigint): void {
    if (setXcrOnly(this.vcpu, index, value)) throw new GuestException(VECTOR.GP, GENERAL_PROTECTION);
    this.state.set64(XCR0_AT, this.vcpu.arch.xcr0);
  }

  readControl(cr: number): bigint {
    switch (cr) {
      case 0:
        return readCr0(this.vcpu);
      case 2:
        return this.vcpu.arch.cr2;
      case 3:
        return readCr3(this.vcpu);
      case 4:
        return readCr4(this.vcpu);
      case 8:
        return getCr8(this.vcpu);
      default:
        throw new GuestException(VECTOR.UD);
    }
  }

  writeControl(cr: number, value: bigint): void {
    const refused = this.#setControl(cr, value);
    if (refused) throw new GuestException(VECTOR.GP, GENERAL_PROTECTION);
    loadControlState(this);
  }

  #setControl(cr: number, value: bigint): boolean {
    switch (cr) {
      case 0:
        return setCr0(this.vcpu, value);
      case 2:
        this.vcpu.arch.cr2 = value;
        return false;
      case 3:
        return setCr3(this.vcpu, value);
      case 4:
        return setCr4(this.vcpu, value);
      case 8:
        return setCr8(this.vcpu, value);
      default:
        throw new GuestException(VECTOR.UD);
    }
  }

  clearTaskSwitched(): void {
    setCr0(this.vcpu, readCr0(this.vcpu) & ~CR0.TS);
    loadControlState(this);
  }

  loadMachineStatusWord(value: number): void {
    lmsw(this.vcpu, value);
    loadControlState(this);
  }

  readDebug(dr: number): bigint {
    return getDr(this.vcpu, dr);
  }

  writeDebug(dr: number, value: bigint): void {
    if (setDrOnly(this.vcpu, dr, value)) throw new GuestException(VECTOR.GP, GENERAL_PROTECTION);
  }

  descriptorTable(): void {
    // Nothing intercepts the emulator.
  }

  precheck(which: string): void {
    if (which === "monitor" || which === "mwait") throw new GuestException(VECTOR.UD);
  }

  invalidatePage(linear: bigint): void {
    mmuInvlpg(this.vcpu, linear);
  }

  invalidatePcid(): void {
    makeRequest(this.vcpu, REQUEST.TLB_FLUSH);
  }

  writeBackCaches(): void {
    // Caches are coherent.
  }

  halt(): void {
    this.halted = true;
  }

  pause(): void {
    // A hint.
  }

  monitor(): void {
    throw new GuestException(VECTOR.UD);
  }

  mwait(): void {
    throw new GuestException(VECTOR.UD);
  }

  random(): bigint {
    throw new GuestException(VECTOR.UD);
  }

  virtualization(): void {
    throw new CannotEmulate("an instruction of the virtualization extension");
  }

  resumeFromSmm(): void {
    throw new GuestException(VECTOR.UD);
  }

  softwareInterrupt(event: InterruptEvent): void {
    deliverEvent(this, event);
  }

  interruptReturn(phase: "begin" | "end"): void {
    // An emulated instruction that faults is executed anew, or its fault is injected.
    if (phase === "end") this.vcpu.kvm.ops.set_nmi_mask(this.vcpu, false);
  }

  taskSwitch(selector: number, cause: TaskSwitch["cause"], errorCode?: number): void {
    this.newTask = switchTask(this, { selector, cause, errorCode });
  }

  taskSwitched(): void {
    setCr0(this.vcpu, readCr0(this.vcpu) | CR0.TS);
    setDrOnly(this.vcpu, 7, getDr(this.vcpu, 7) & ~DR7_LOCAL);
    loadControlState(this);
  }

  modeChanged(): void {
    // The core has seen to it when the register was written.
  }

  /** Mode that instructions are decoded in. */
  get bitness(): 16 | 32 | 64 {
    const rights = this.state.segment("cs").rights;
    if ((this.vcpu.arch.efer & EFER.LMA) !== 0n && (rights & SEGMENT_RIGHTS.L) !== 0) return 64;
    return (rights & SEGMENT_RIGHTS.DB) !== 0 ? 32 : 16;
  }

  get virtual8086(): boolean {
    return (this.state.rflags & RFLAGS.VM) !== 0n;
  }
}

/** The vCPU's own, made with its first emulated instruction. */
export function emulatorOf(vcpu: VcpuState): EmulatorEnvironment {
  const { emulator } = vcpu;
  if (emulator instanceof EmulatorEnvironment) return emulator;
  const made = new EmulatorEnvironment(vcpu);
  vcpu.emulator = made;
  return made;
}
