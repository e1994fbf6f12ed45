import {
  ACTIVITY,
  CPU_BASED,
  CR0,
  CR3,
  CR4,
  CR_ACCESS_TYPE,
  DR6,
  DR7,
  DR7_LOCAL,
  EXIT_REASON,
  GuestException,
  INTERRUPTIBILITY,
  INVPCID_TYPE,
  MSR,
  Mnemonic,
  PIN_BASED,
  SECONDARY_EXEC,
  TASK_SWITCH_SOURCE,
  VECTOR,
  cpl,
  is64Bit,
  isLongMode,
  isProtected,
  isVirtual8086,
  mergeMachineStatusWord,
  readDebugRegister,
  slot,
  writeCr0,
  writeCr3,
  writeCr4,
  writeCr8,
  writeDebugRegister,
  type AccessSize,
  type ControlRegisterModel,
  type CpuState,
  type DecodedInstruction,
  type InterruptEvent,
  type ExecutionEnvironment,
  type MemoryAccess,
} from "@tapvisor/x86-isa";
import type { GuestMemory } from "../paging/guest-memory.js";
import type { MsrFile } from "../processor/msrs.js";
import { RandomSource } from "../processor/random-source.js";
import type { CpuidResult } from "../profiles/cpuid.js";
import type { VirtualClock } from "../time/clock.js";
import { highWord, lowWord } from "../words.js";
import { F } from "./fields.js";
import {
  displacementWords,
  invalidationInformation,
  randomInformation,
  selectorInformation,
  tableInformation,
} from "./instruction-information.js";
import {
  interceptClts,
  interceptCr3Write,
  interceptCrAccess,
  interceptCrWrite,
  interceptDr,
  interceptIo,
  interceptLmsw,
  interceptMsr,
  shadowed,
} from "./intercepts.js";
import type { NonRoot } from "./non-root.js";
import { PauseLoop } from "./pause-loop.js";
import { VMX_INSTRUCTIONS } from "./vmx-instructions.js";

const SLOT = {
  cr0: slot("cr0"),
  cr2: slot("cr2"),
  cr3: slot("cr3"),
  cr4: slot("cr4"),
  cr8: slot("cr8"),
  xcr0: slot("xcr0"),
  dr6: slot("dr6"),
  dr7: slot("dr7"),
  activity: slot("activity"),
  interruptibility: slot("interruptibility"),
} as const;

/** Bits of CR4 whose change drops every translation. */
const CR4_FLUSHES = CR4.PGE | CR4.PAE | CR4.PSE | CR4.PCIDE | CR4.PKE | CR4.LA57;

/** What {@link NonRootEnvironment} stands on. */
export interface NonRootEnvironmentParts {
  readonly state: CpuState;
  readonly memory: GuestMemory;
  readonly nonRoot: NonRoot;
  readonly msrs: MsrFile;
  readonly clock: VirtualClock;
  /** What non-root operation allows in control registers; `unrestricted`: PE and PG are free. */
  controls(unrestricted: boolean): ControlRegisterModel;
  /** Deliver INT n, INT3, INTO or INT1. */
  softwareInterrupt(event: InterruptEvent): void;
  /** Something that decides about pending events has changed. */
  attend(): void;
}

const undefinedOpcode = (): never => {
  throw new GuestException(VECTOR.UD);
};
const generalProtection = (): never => {
  throw new GuestException(VECTOR.GP, 0);
};

/** What an instruction asks of its surroundings in VMX non-root operation: each method decides first whether it exits. */
export class NonRootEnvironment implements ExecutionEnvironment {
  readonly state: CpuState;
  readonly #memory: GuestMemory;
  readonly #nonRoot: NonRoot;
  readonly #random = new RandomSource();
  readonly #pauseLoop = new PauseLoop();

  constructor(private readonly parts: NonRootEnvironmentParts) {
    this.state = parts.state;
    this.#memory = parts.memory;
    this.#nonRoot = parts.nonRoot;
  }

  load(linear: bigint, size: AccessSize, access: MemoryAccess): bigint {
    return this.#memory.load(linear, size, access);
  }

  store(linear: bigint, size: AccessSize, value: bigint, access: MemoryAccess): void {
    this.#memory.store(linear, size, value, access);
  }

  probe(linear: bigint, size: number, access: MemoryAccess): void {
    this.#memory.probe(linear, size, access);
  }

  modeChanged(): void {
    this.#memory.modeChanged();
    this.parts.attend();
  }

  // --- ports

  in(port: number, size: 1 | 2 | 4, i: DecodedInstruction): number {
    interceptIo(this.#nonRoot, { port, size, input: true, immediate: hasImmediatePort(i) }, i);
    // No port of the host answers: the bus floats high.
    return 0xffffffff >>> (32 - size * 8);
  }

  out(port: number, size: 1 | 2 | 4, _value: number, i: DecodedInstruction): void {
    interceptIo(this.#nonRoot, { port, size, input: false, immediate: hasImmediatePort(i) }, i);
  }

  stringIo(port: number, size: 1 | 2 | 4, input: boolean, linear: bigint, i: DecodedInstruction): void {
    interceptIo(this.#nonRoot, { port, size, input, immediate: false, linear }, i);
  }

  // --- identification, MSRs, counters

  cpuid(_leaf: number, _subleaf: number): CpuidResult {
    return this.#nonRoot.instruction(EXIT_REASON.CPUID);
  }

  readMsr(index: number): bigint {
    interceptMsr(this.#nonRoot, index >>> 0, false);
    const value = this.parts.msrs.read(index, this.state);
    return index >>> 0 === MSR.IA32_TIME_STAMP_COUNTER ? this.#offset(value) : value;
  }

  writeMsr(index: number, value: bigint): void {
    interceptMsr(this.#nonRoot, index >>> 0, true);
    this.parts.msrs.write(index, value, this.state);
    if (index >>> 0 === MSR.IA32_EFER) this.modeChanged();
  }

  readTsc(instruction: "rdtsc" | "rdtscp"): bigint {
    const nonRoot = this.#nonRoot;
    if ((nonRoot.primary & CPU_BASED.RDTSC_EXITING) !== 0) {
      nonRoot.instruction(instruction === "rdtscp" ? EXIT_REASON.RDTSCP : EXIT_REASON.RDTSC);
    }
    return this.#offset(BigInt(this.parts.msrs.tsc()));
  }

  readPmc(_index: number): bigint {
    if ((this.#nonRoot.primary & CPU_BASED.RDPMC_EXITING) !== 0) this.#nonRoot.instruction(EXIT_REASON.RDPMC);
    // There are no counters.
    return generalProtection();
  }

  readXcr(index: number): bigint {
    return index === 0 ? this.state.get64(SLOT.xcr0) : generalProtection();
  }

  writeXcr(_index: number, _value: bigint): void {
    this.#nonRoot.instruction(EXIT_REASON.XSETBV);
  }

  random(kind: "rdrand" | "rdseed", size: 2 | 4 | 8, gpr: number): bigint {
    const nonRoot = this.#nonRoot;
    const control = kind === "rdrand" ? SECONDARY_EXEC.RDRAND_EXITING : SECONDARY_EXEC.RDSEED_EXITING;
    if ((nonRoot.secondary & control) !== 0) {
      const reason = kind === "rdrand" ? EXIT_REASON.RDRAND : EXIT_REASON.RDSEED;
      nonRoot.instruction(reason, 0, 0, randomInformation(gpr, size));
    }
    return this.#random.next();
  }

  // --- control and debug registers

  readControl(cr: number, gpr: number): bigint {
    const { state } = this;
    const nonRoot = this.#nonRoot;
    switch (cr) {
      case 0:
        return shadowed(nonRoot, 0, state.get64(SLOT.cr0));
      case 2:
        return state.get64(SLOT.cr2);
      case 3:
        interceptCrAccess(nonRoot, 3, CPU_BASED.CR3_STORE_EXITING, CR_ACCESS_TYPE.MOV_FROM_CR, gpr);
        return state.get64(SLOT.cr3);
      case 4:
        return shadowed(nonRoot, 4, state.get64(SLOT.cr4));
      case 8:
        interceptCrAccess(nonRoot, 8, CPU_BASED.CR8_STORE_EXITING, CR_ACCESS_TYPE.MOV_FROM_CR, gpr);
        return state.get64(SLOT.cr8);
      default:
        return undefinedOpcode();
    }
  }

  writeControl(cr: number, value: bigint, gpr: number): void {
    const { state } = this;
    const nonRoot = this.#nonRoot;
    const controls = this.#controls();
    switch (cr) {
      case 0: {
        const old = state.get64(SLOT.cr0);
        writeCr0(state, interceptCrWrite(nonRoot, 0, value, old, gpr), controls);
        this.#cr0Changed(old);
        return;
      }
      case 2:
        state.set64(SLOT.cr2, value);
        return;
      case 3:
        interceptCr3Write(nonRoot, value, gpr);
        writeCr3(state, value, controls);
        this.#cr3Changed(value);
        break;
      case 4: {
        const old = state.get64(SLOT.cr4);
        writeCr4(state, interceptCrWrite(nonRoot, 4, value, old, gpr), controls);
        this.#cr4Changed(old);
        break;
      }
      case 8:
        interceptCrAccess(nonRoot, 8, CPU_BASED.CR8_LOAD_EXITING, CR_ACCESS_TYPE.MOV_TO_CR, gpr);
        writeCr8(state, value);
        return;
      default:
        undefinedOpcode();
    }
    this.modeChanged();
  }

  clearTaskSwitched(): void {
    if (interceptClts(this.#nonRoot) === "keep") return;
    this.state.set64(SLOT.cr0, this.state.get64(SLOT.cr0) & ~CR0.TS);
    this.modeChanged();
  }

  loadMachineStatusWord(value: number, linear?: bigint): void {
    const old = this.state.get64(SLOT.cr0);
    const allowed = interceptLmsw(this.#nonRoot, value, old, linear);
    writeCr0(this.state, mergeMachineStatusWord(old, allowed), this.#controls());
    this.#cr0Changed(old);
  }

  readDebug(dr: number, gpr: number): bigint {
    this.#checkDebugAccess(dr, gpr, true);
    return readDebugRegister(this.state, dr);
  }

  writeDebug(dr: number, value: bigint, gpr: number): void {
    this.#checkDebugAccess(dr, gpr, false);
    writeDebugRegister(this.state, dr, value);
    this.parts.attend();
  }

  // --- descriptor tables, translations, caches

  descriptorTable(
    which: "lgdt" | "lidt" | "sgdt" | "sidt" | "lldt" | "ltr" | "sldt" | "str",
    i: DecodedInstruction,
  ): void {
    if ((this.#nonRoot.secondary & SECONDARY_EXEC.DESC) === 0) return;
    const [low, high] = displacementWords(i);
    const table = GDTR_IDTR_IDENTITY[which];
    if (table !== undefined) this.#nonRoot.instruction(EXIT_REASON.GDTR_IDTR, low, high, tableInformation(i, table));
    const selector = LDTR_TR_IDENTITY[which] ?? 0;
    this.#nonRoot.instruction(EXIT_REASON.LDTR_TR, low, high, selectorInformation(i, selector));
  }

  precheck(which: "invpcid" | "monitor" | "mwait" | "rdtscp", i: DecodedInstruction): void {
    const nonRoot = this.#nonRoot;
    switch (which) {
      case "rdtscp":
        if ((nonRoot.secondary & SECONDARY_EXEC.RDTSCP) === 0) undefinedOpcode();
        return;
      case "invpcid": {
        if ((nonRoot.secondary & SECONDARY_EXEC.ENABLE_INVPCID) === 0) undefinedOpcode();
        if ((nonRoot.primary & CPU_BASED.INVLPG_EXITING) === 0 || cpl(this.state) !== 0) return;
        const [low, high] = displacementWords(i);
        return nonRoot.instruction(EXIT_REASON.INVPCID, low, high, invalidationInformation(i));
      }
      case "monitor":
        if ((nonRoot.primary & CPU_BASED.MONITOR_EXITING) !== 0) nonRoot.instruction(EXIT_REASON.MONITOR_INSTRUCTION);
        return;
      case "mwait":
        if ((nonRoot.primary & CPU_BASED.MWAIT_EXITING) !== 0) nonRoot.instruction(EXIT_REASON.MWAIT_INSTRUCTION);
        return;
    }
  }

  invalidatePage(linear: bigint, _i: DecodedInstruction): void {
    const low = lowWord(linear);
    const high = highWord(linear);
    if ((this.#nonRoot.primary & CPU_BASED.INVLPG_EXITING) !== 0) {
      this.#nonRoot.instruction(EXIT_REASON.INVLPG, low, high);
    }
    // Of all PCIDs: a global page is dropped in each of them.
    this.#memory.tlb.flushPage(low, high, { vpid: this.#memory.tlb.vpid });
  }

  invalidatePcid(type: bigint, pcid: bigint, linear: bigint): void {
    const { tlb } = this.#memory;
    const { vpid } = tlb;
    switch (Number(type)) {
      case INVPCID_TYPE.INDIVIDUAL_ADDR:
        tlb.flushPage(lowWord(linear), highWord(linear), { vpid, pcid: Number(pcid) });
        return;
      case INVPCID_TYPE.SINGLE_CONTEXT:
        tlb.flush({ vpid, pcid: Number(pcid), keepGlobal: true });
        return;
      default:
        tlb.flush({ vpid, keepGlobal: Number(type) !== INVPCID_TYPE.ALL_CONTEXT_GLOBAL });
    }
  }

  writeBackCaches(mnemonic: "invd" | "wbinvd"): void {
    if (mnemonic === "invd") this.#nonRoot.instruction(EXIT_REASON.INVD);
    if ((this.#nonRoot.secondary & SECONDARY_EXEC.WBINVD_EXITING) !== 0) {
      this.#nonRoot.instruction(EXIT_REASON.WBINVD);
    }
  }

  // --- waiting

  halt(): void {
    if ((this.#nonRoot.primary & CPU_BASED.HLT_EXITING) !== 0) this.#nonRoot.instruction(EXIT_REASON.HLT);
    this.state.set32(SLOT.activity, ACTIVITY.HLT);
    this.parts.attend();
  }

  pause(): void {
    const nonRoot = this.#nonRoot;
    if ((nonRoot.primary & CPU_BASED.PAUSE_EXITING) !== 0) nonRoot.instruction(EXIT_REASON.PAUSE_INSTRUCTION);
    if ((nonRoot.secondary & SECONDARY_EXEC.PAUSE_LOOP_EXITING) === 0 || cpl(this.state) !== 0) return;
    const gap = nonRoot.words[F.PLE_GAP] as number;
    const window = nonRoot.words[F.PLE_WINDOW] as number;
    if (this.#pauseLoop.spins(this.parts.clock.cycles(), gap, window)) {
      nonRoot.instruction(EXIT_REASON.PAUSE_INSTRUCTION);
    }
  }

  monitor(_linear: bigint): void {
    // The monitored store may always have happened already: MWAIT is free to return at once.
  }

  mwait(_hints: number, _extensions: number): void {
    // See monitor().
  }

  // --- virtualization, events

  virtualization(i: DecodedInstruction): void {
    const nonRoot = this.#nonRoot;
    if (i.mnemonic === Mnemonic.Vmcall) nonRoot.instruction(EXIT_REASON.VMCALL);
    const row = VMX_INSTRUCTIONS.get(i.mnemonic);
    if (row === undefined) return undefinedOpcode();
    const s = this.state;
    if (!isProtected(s) || isVirtual8086(s) || (isLongMode(s) && !is64Bit(s))) undefinedOpcode();
    const [low, high] = displacementWords(i);
    nonRoot.instruction(row.reason, low, high, row.information(i));
  }

  resumeFromSmm(): void {
    undefinedOpcode();
  }

  softwareInterrupt(event: InterruptEvent): void {
    this.parts.softwareInterrupt(event);
  }

  interruptReturn(phase: "begin" | "end"): void {
    const { state } = this;
    const nonRoot = this.#nonRoot;
    if (phase === "end") {
      nonRoot.nmiUnblocked = false;
      this.parts.attend();
      return;
    }
    // With NMI exiting the blocking is the host's, unless there are virtual NMIs (SDM vol. 3, "Changes to Instruction
    // Behavior in VMX Non-Root Operation", IRET).
    if ((nonRoot.pin & (PIN_BASED.NMI_EXITING | PIN_BASED.VIRTUAL_NMIS)) === PIN_BASED.NMI_EXITING) return;
    const blocking = state.get32(SLOT.interruptibility);
    nonRoot.nmiUnblocked = (blocking & INTERRUPTIBILITY.NMI) !== 0;
    state.set32(SLOT.interruptibility, blocking & ~INTERRUPTIBILITY.NMI);
  }

  taskSwitch(selector: number, cause: "call" | "iret" | "jmp" | "gate", _errorCode?: number): void {
    const qualification = (selector | (TASK_SWITCH_SOURCE[TASK_SOURCE[cause]] << 30)) >>> 0;
    if (cause === "gate") this.#nonRoot.event(EXIT_REASON.TASK_SWITCH, qualification);
    this.#nonRoot.instruction(EXIT_REASON.TASK_SWITCH, qualification);
  }

  taskSwitched(): void {
    this.state.set64(SLOT.cr0, this.state.get64(SLOT.cr0) | CR0.TS);
    this.state.set64(SLOT.dr7, this.state.get64(SLOT.dr7) & ~DR7_LOCAL);
    this.modeChanged();
  }

  // --- parts

  #offset(tsc: bigint): bigint {
    const nonRoot = this.#nonRoot;
    if ((nonRoot.primary & CPU_BASED.USE_TSC_OFFSETTING) === 0) return tsc;
    return BigInt.asUintN(64, tsc + nonRoot.field64(F.TSC_OFFSET));
  }

  #controls(): ControlRegisterModel {
    return this.parts.controls((this.#nonRoot.secondary & SECONDARY_EXEC.UNRESTRICTED_GUEST) !== 0);
  }

  // What MOV to a control register drops: SDM vol. 3, "Operations that Invalidate TLBs and Paging-Structure Caches".

  #cr0Changed(old: bigint): void {
    const { tlb } = this.#memory;
    if (((this.state.get64(SLOT.cr0) ^ old) & CR0.PG) !== 0n) tlb.flush({ vpid: tlb.vpid });
    this.modeChanged();
  }

  #cr3Changed(value: bigint): void {
    const { tlb } = this.#memory;
    const pcids = (this.state.get64(SLOT.cr4) & CR4.PCIDE) !== 0n;
    if (pcids && (value & CR3.NO_FLUSH) !== 0n) return;
    tlb.flush({ vpid: tlb.vpid, pcid: pcids ? Number(value & CR3.PCID) : 0, keepGlobal: true });
  }

  #cr4Changed(old: bigint): void {
    const { tlb, pager } = this.#memory;
    const value = this.state.get64(SLOT.cr4);
    if (((value ^ old) & CR4_FLUSHES) !== 0n) tlb.flush({ vpid: tlb.vpid });
    else if ((value & ~old & CR4.SMEP) !== 0n) tlb.flush({ vpid: tlb.vpid, pcid: pager.pcid, keepGlobal: true });
  }

  /** What a MOV of a debug register meets, up to the general-detect trap. */
  #checkDebugAccess(dr: number, gpr: number, from: boolean): void {
    const s = this.state;
    if (dr > 7) undefinedOpcode();
    // The exit has priority over the faults (SDM vol. 3, "Instructions That Cause VM Exits Conditionally", MOV DR).
    interceptDr(this.#nonRoot, dr, gpr, from);
    if ((dr === 4 || dr === 5) && (s.get64(SLOT.cr4) & CR4.DE) !== 0n) undefinedOpcode();
    if (cpl(s) !== 0) generalProtection();
    if ((s.get64(SLOT.dr7) & DR7.GD) !== 0n) {
      this.#nonRoot.debugConditions = Number(DR6.BD);
      throw new GuestException(VECTOR.DB);
    }
  }
}

/** IN and OUT name the port by an immediate or by DX; the accumulator is the other operand. */
function hasImmediatePort(i: DecodedInstruction): boolean {
  return i.operands.some((operand) => operand.kind === "immediate");
}

const GDTR_IDTR_IDENTITY: Readonly<Record<string, number>> = { sgdt: 0, sidt: 1, lgdt: 2, lidt: 3 };
const LDTR_TR_IDENTITY: Readonly<Record<string, number>> = { sldt: 0, str: 1, lldt: 2, ltr: 3 };
const TASK_SOURCE = { call: "CALL", iret: "IRET", jmp: "JMP", gate: "GATE" } as const;
