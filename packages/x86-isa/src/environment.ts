import { StacklessError } from "./stackless-error.js";
import type { CpuState } from "./state/cpu-state.js";
import type { DecodedInstruction } from "./decode/instruction.js";
import type { InterruptEvent } from "./system/event.js";

/** Why a linear address is accessed: decides the paging permission that is checked. */
export interface MemoryAccess {
  readonly write: boolean;
  readonly fetch?: boolean;
  /** A supervisor access whatever the CPL: descriptor tables, the TSS, interrupt delivery. */
  readonly system?: boolean;
  /** Made through SS: a non-canonical address is #SS instead of #GP. */
  readonly stack?: boolean;
  /** Checked for write permission before it is read, as LOCK forms and read-modify-write are. */
  readonly willWrite?: boolean;
}

export type AccessSize = 1 | 2 | 4 | 8 | 16;

/**
 * What an instruction asks of the machine that it runs on.
 *
 * The evaluator and every system instruction (far transfers, segment loads, interrupt delivery, MSRs, ports, ...) are
 * written over this interface and nothing else. x86-cpu implements it over its memory and checks there whether VT-x
 * intercepts; kvm-core's emulator implements it over the ops of a backend.
 *
 * A method that meets a fault throws {@link GuestException}; one that makes the guest leave non-root operation throws
 * the machine's own signal. Either way nothing of the instruction has happened.
 */
export interface ExecutionEnvironment {
  readonly state: CpuState;
  /** SYSCALL and SYSRET exist outside 64-bit mode too, as on AMD's processors. Intel's have them there alone. */
  readonly legacySyscall?: boolean;

  /** Read little-endian from linear memory. */
  load(linear: bigint, size: AccessSize, access: MemoryAccess): bigint;
  /** Write little-endian to linear memory. */
  store(linear: bigint, size: AccessSize, value: bigint, access: MemoryAccess): void;
  /**
   * Raise the fault that an access to `size` bytes would meet, and do nothing else. An instruction that writes several
   * places probes them all before its first change, so that it can be restarted.
   */
  probe(linear: bigint, size: number, access: MemoryAccess): void;

  /** Called by IN and OUT after the check of the I/O privilege; INS and OUTS call `stringIo` first. */
  in(port: number, size: 1 | 2 | 4, instruction: DecodedInstruction): number;
  out(port: number, size: 1 | 2 | 4, value: number, instruction: DecodedInstruction): void;
  /** INS (`input`) or OUTS is about to access its memory operand: an interception comes before the access. */
  stringIo(port: number, size: 1 | 2 | 4, input: boolean, linear: bigint, instruction: DecodedInstruction): void;

  cpuid(leaf: number, subleaf: number): { eax: number; ebx: number; ecx: number; edx: number };
  readMsr(index: number): bigint;
  writeMsr(index: number, value: bigint): void;
  readTsc(instruction: "rdtsc" | "rdtscp"): bigint;
  readPmc(index: number): bigint;
  readXcr(index: number): bigint;
  writeXcr(index: number, value: bigint): void;

  /** MOV from/to CR0, CR2, CR3, CR4, CR8, with the checks of the architecture; `gpr` is the encoding of the register. */
  readControl(cr: number, gpr: number): bigint;
  writeControl(cr: number, value: bigint, gpr: number): void;
  /** CLTS, LMSW (with its linear address when it reads memory) and SMSW go past `writeControl`: VT-x tells them apart. */
  clearTaskSwitched(): void;
  loadMachineStatusWord(value: number, linear?: bigint): void;
  readDebug(dr: number, gpr: number): bigint;
  writeDebug(dr: number, value: bigint, gpr: number): void;

  /** An access to a descriptor-table register is about to happen, its privilege checked: the machine may intercept it. */
  descriptorTable(
    which: "lgdt" | "lidt" | "sgdt" | "sidt" | "lldt" | "ltr" | "sldt" | "str",
    i: DecodedInstruction,
  ): void;

  /**
   * An instruction begins whose operands have not been looked at: what lacks it, or intercepts it at its privilege, comes
   * before the faults of the operands.
   */
  precheck(which: "invpcid" | "monitor" | "mwait" | "rdtscp", i: DecodedInstruction): void;
  invalidatePage(linear: bigint, instruction: DecodedInstruction): void;
  /** INVPCID with operands that are valid; `pcid` and `linear` are of the descriptor. */
  invalidatePcid(type: bigint, pcid: bigint, linear: bigint): void;
  /** INVD, WBINVD, WBNOINVD. */
  writeBackCaches(mnemonic: "invd" | "wbinvd"): void;
  halt(): void;
  pause(): void;
  monitor(linear: bigint): void;
  mwait(hints: number, extensions: number): void;
  /** RDRAND, RDSEED; `gpr` is the encoding of the destination. */
  random(kind: "rdrand" | "rdseed", size: 2 | 4 | 8, gpr: number): bigint;
  /** VMCALL, VMLAUNCH, ... , VMFUNC, and AMD's VMMCALL: whatever the processor makes of them. */
  virtualization(instruction: DecodedInstruction): void;
  /** Leave system-management mode. */
  resumeFromSmm(): void;
  /**
   * INT n, INT3, INTO or INT1 is delivered, its privilege in virtual-8086 mode checked. Without an interception the
   * machine calls {@link deliverEvent}, and knows what was in delivery when that meets a fault.
   */
  softwareInterrupt(event: InterruptEvent): void;
  /**
   * IRET begins or ends: blocking by NMI ends, and does so even if the instruction faults in between (SDM vol. 3,
   * "Handling Multiple NMIs"). One that returns to another task only ends.
   */
  interruptReturn(phase: "begin" | "end"): void;
  /** A task switch asked for by CALL, JMP, IRET or a task gate. */
  taskSwitch(selector: number, cause: "call" | "iret" | "jmp" | "gate", errorCode?: number): void;
  /** TR has the new task: set CR0.TS and clear the local breakpoints of DR7, which nothing intercepts. */
  taskSwitched(): void;

  /** The paging mode, CPL or a mask of it may have changed: cached translations that depend on it must go. */
  modeChanged(): void;
}

/** An exception that the guest is to see: #GP, #PF, ... The instruction has done nothing yet. */
export class GuestException extends StacklessError {
  /**
   * @param vector number of the exception (SDM vol. 3, "Exception and Interrupt Reference")
   * @param errorCode pushed with it, where the vector has one
   * @param cr2 linear address of a #PF
   */
  constructor(
    readonly vector: number,
    readonly errorCode?: number,
    readonly cr2?: bigint,
  ) {
    super(`guest exception ${vector}`);
    this.name = "GuestException";
  }
}
