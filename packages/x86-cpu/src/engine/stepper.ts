import {
  GuestException,
  INTERRUPTIBILITY,
  INTERRUPT_SHADOW,
  MAX_INSTRUCTION_BYTES,
  PENDING_DEBUG,
  PENDING_DEBUG_CONDITIONS,
  RFLAGS,
  VECTOR,
  decode,
  executeInstruction,
  instructionPointerBits,
  isCanonical,
  liftInstruction,
  slot,
  trapsByFinalFlags,
  type Bitness,
  type CpuState,
  type DecodedInstruction,
  type ExecutionEnvironment,
  type DecoderFeature,
} from "@tapvisor/x86-isa";
import type { GuestMemory } from "../paging/guest-memory.js";
import { Breakpoints } from "./breakpoints.js";
import { bitnessOf, codeMode } from "./code-mode.js";
import type { GuestEvents } from "./events.js";

const SLOT_RIP = slot("rip");
const SLOT_CURRENT_RIP = slot("currentRip");
const SLOT_NEXT_RIP = slot("nextRip");
const SLOT_FLAGS_REST = slot("flagsRest");
const SLOT_INTERRUPTIBILITY = slot("interruptibility");
const SLOT_PENDING_DEBUG = slot("pendingDebug");
const SLOT_CS_BASE = slot("cs.base");
const SLOT_CS_LIMIT = slot("cs.limit");

const TF = Number(RFLAGS.TF);
const RF = Number(RFLAGS.RF);

/**
 * Executes one instruction at a time on the evaluator, with everything that may happen between two instructions:
 * breakpoints, single-step, the interrupt shadow. It is the reference, and what the quick engine falls back on
 * while any of these is in force.
 */
export class Stepper {
  readonly #breakpoints: Breakpoints;
  #dataHits = 0;

  constructor(
    private readonly state: CpuState,
    private readonly memory: GuestMemory,
    private readonly environment: ExecutionEnvironment,
    private readonly events: GuestEvents,
    private readonly feature: (name: DecoderFeature) => boolean,
    /** Told the syntax of each instruction that raises #UD because the processor does not have it. */
    private readonly onMissing?: (syntax: string) => void,
  ) {
    this.#breakpoints = new Breakpoints(state);
  }

  /** Must the next instruction be executed here? Single-step and breakpoints are no other engine's business. */
  get needed(): boolean {
    return (this.state.get32(SLOT_FLAGS_REST) & TF) !== 0 || this.#breakpoints.enabled;
  }

  /** Execute the instruction at `rip`. A fault goes to the events; a VM exit is thrown on. */
  step(): void {
    const { state, events } = this;
    const rip = state.get64(SLOT_RIP);
    const rest = state.get32(SLOT_FLAGS_REST);
    state.set64(SLOT_CURRENT_RIP, rip);
    const shadow = state.get32(SLOT_INTERRUPTIBILITY) & INTERRUPT_SHADOW;
    const watched = this.#breakpoints.enabled;
    this.#dataHits = 0;
    let flagsBefore = rest;
    try {
      const bitness = bitnessOf(state);
      // Right after MOV SS or POP SS, a code breakpoint is suppressed as if RF were set.
      if (watched && (rest & RF) === 0 && (shadow & INTERRUPTIBILITY.MOV_SS) === 0)
        this.#instructionBreakpoint(rip, bitness);
      const instruction = this.#fetch(rip, bitness);
      state.set64(SLOT_NEXT_RIP, BigInt.asUintN(instructionPointerBits(bitness), rip + BigInt(instruction.length)));
      // An instruction that completes clears RF, but for those that load it.
      state.set32(SLOT_FLAGS_REST, rest & ~RF);
      if (watched) this.memory.watch((linear, size, write) => this.#noteData(linear, size, write));
      if (trapsByFinalFlags(instruction.mnemonic)) flagsBefore &= ~TF;
      const mode = codeMode(state, this.feature);
      if (this.onMissing !== undefined) {
        const { missing } = liftInstruction(instruction, mode);
        if (missing !== undefined) this.onMissing(missing);
      }
      executeInstruction(this.environment, instruction, mode);
    } catch (signal) {
      // Nothing of the instruction happened; RF is as before it.
      if ((rest & RF) !== 0) state.set32(SLOT_FLAGS_REST, state.get32(SLOT_FLAGS_REST) | RF);
      if (!(signal instanceof GuestException)) throw signal;
      events.exception(signal);
      return;
    } finally {
      if (watched) this.memory.watch(undefined);
    }
    state.set64(SLOT_RIP, state.get64(SLOT_NEXT_RIP));
    state.set32(SLOT_INTERRUPTIBILITY, state.get32(SLOT_INTERRUPTIBILITY) & ~shadow);
    events.retired(1);
    this.#traps(flagsBefore, state.get32(SLOT_INTERRUPTIBILITY));
  }

  /** Traps after an instruction; one that blocks by MOV SS makes them wait (SDM vol. 3, "Masking Exceptions and Interrupts When Switching Stacks"). */
  #traps(flagsBefore: number, interruptibility: number): void {
    const { state } = this;
    const pending = BigInt(this.#dataHits) | (state.get64(SLOT_PENDING_DEBUG) & PENDING_DEBUG_CONDITIONS);
    if ((interruptibility & INTERRUPTIBILITY.MOV_SS) !== 0) {
      // A breakpoint waits for the next instruction. A single-step trap is due after that one anyway, by its own TF.
      const hit = this.#dataHits === 0 ? 0n : PENDING_DEBUG.ENABLED_BREAKPOINT;
      state.set64(SLOT_PENDING_DEBUG, pending | hit);
      return;
    }
    const conditions = (flagsBefore & TF) === 0 ? pending : pending | PENDING_DEBUG.BS;
    if (conditions === 0n) return;
    state.set64(SLOT_PENDING_DEBUG, 0n);
    this.events.debugTrap(conditions);
  }

  #instructionBreakpoint(rip: bigint, bitness: Bitness): void {
    const linear = bitness === 64 ? rip : BigInt.asUintN(32, this.state.get64(SLOT_CS_BASE) + rip);
    const hit = this.#breakpoints.onExecute(linear);
    if (hit !== 0) throw new InstructionBreakpoint(BigInt(hit));
  }

  #noteData(linear: bigint, size: number, write: boolean): void {
    this.#dataHits |= this.#breakpoints.onData(linear, size, write);
  }

  /** Fetch and decode, with the faults of both. */
  #fetch(rip: bigint, bitness: Bitness): DecodedInstruction {
    const { state, memory } = this;
    const long = bitness === 64;
    if (long && !isCanonical(rip)) throw new GuestException(VECTOR.GP, 0);
    const room = long ? MAX_INSTRUCTION_BYTES : state.get32(SLOT_CS_LIMIT) - Number(rip) + 1;
    if (room <= 0) throw new GuestException(VECTOR.GP, 0);
    const linear = long ? rip : BigInt.asUintN(32, state.get64(SLOT_CS_BASE) + rip);
    let bytes = memory.fetch(linear);
    for (;;) {
      const seen = bytes.length > room ? bytes.subarray(0, room) : bytes;
      const result = decode(seen, rip, bitness);
      switch (result.kind) {
        case "instruction":
          return result.instruction;
        case "invalid":
          throw new GuestException(VECTOR.UD);
        case "too-long":
          throw new GuestException(VECTOR.GP, 0);
        case "incomplete": {
          if (seen.length < bytes.length || bytes.length === room) throw new GuestException(VECTOR.GP, 0);
          const next = linear + BigInt(bytes.length);
          const more = memory.fetch(long ? BigInt.asUintN(64, next) : BigInt.asUintN(32, next));
          const joined = new Uint8Array(Math.min(bytes.length + more.length, MAX_INSTRUCTION_BYTES));
          joined.set(bytes);
          joined.set(more.subarray(0, joined.length - bytes.length), bytes.length);
          bytes = joined;
        }
      }
    }
  }
}

/** #DB of an instruction breakpoint: a fault, with the bits of DR6 that it sets. */
export class InstructionBreakpoint extends GuestException {
  constructor(readonly conditions: bigint) {
    super(VECTOR.DB);
  }
}
