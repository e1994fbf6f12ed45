import {
  ENGINE_FIELD,
  GuestException,
  INTERRUPT_SHADOW,
  LEAVE,
  LOOKUP_ENTRY_BYTES,
  RFLAGS,
  VECTOR,
  generateInterpreter,
  instructionPointerBits,
  lookupIndex,
  runSystemInstruction,
  slot,
  type CpuState,
  type DecodedInstruction,
  type ExecutionEnvironment,
  type DecoderFeature,
} from "@tapvisor/x86-isa";
import { LOOKUP_ENTRIES, PROCESSOR_AREA, type HostMemory } from "../memory/host-memory.js";
import { TLB_ENTRIES, type GuestMemory } from "../paging/index.js";
import { VM_EXIT } from "../vmx/vm-exit.js";
import { TWO_32 } from "../words.js";
import { BlockCache } from "./block-cache.js";
import { BlockFinder } from "./block-finder.js";
import { CodeTags } from "./code-tags.js";
import { EngineFields } from "./engine-fields.js";
import type { FastPath } from "./engine.js";
import type { GuestEvents } from "./events.js";
import { SlowPaths } from "./slow-paths.js";
import type { Stepper } from "./stepper.js";

const SLOT_RIP = slot("rip");
const SLOT_FUEL = slot("fuel");
const SLOT_CURRENT_RIP = slot("currentRip");
const SLOT_NEXT_RIP = slot("nextRip");
const SLOT_FLAGS_REST = slot("flagsRest");
const SLOT_INTERRUPTIBILITY = slot("interruptibility");

const RF = Number(RFLAGS.RF);

/** How a run ended: nothing stands in the way of the next one, a fault has been delivered, or the guest has left. */
const OUTCOME = { COMPLETED: 0, FAULT: 1, EXIT: 2 } as const;
type Outcome = (typeof OUTCOME)[keyof typeof OUTCOME];

export interface InterpreterParts {
  readonly memory: HostMemory;
  readonly processor: number;
  readonly state: CpuState;
  readonly guest: GuestMemory;
  readonly environment: ExecutionEnvironment;
  readonly events: GuestEvents;
  readonly stepper: Stepper;
  readonly feature: (name: DecoderFeature) => boolean;
  /** Whether the guest leaves at this system instruction for sure, which is then recorded; the rest the environment decides. */
  readonly exits?: (instruction: DecodedInstruction) => boolean;
  /** Told the syntax of each instruction that raises #UD because the processor does not have it. */
  readonly onMissing?: ((syntax: string) => void) | undefined;
}

/**
 * The quick engine: runs translated blocks in the generated WebAssembly interpreter. What it cannot do exactly (a fetch
 * that faults, bytes that are no instruction) it leaves to the stepper.
 */
export class Interpreter implements FastPath {
  readonly #state: CpuState;
  readonly #fields: EngineFields;
  readonly #tags: CodeTags;
  readonly #blocks: BlockCache;
  readonly #finder: BlockFinder;
  readonly #slowPaths: SlowPaths;
  /** The whole memory, for the entries that lead to blocks, which are addresses in it. */
  readonly #words: Uint32Array;
  readonly #lookup: number;
  readonly #interpret: () => number;
  /** Blocks of one instruction are run. */
  #single = false;
  /** RF as it was before the instruction. */
  #resumeFlag = 0;
  /** Fuel when instructions were last reported as retired. */
  #reported = 0;

  constructor(private readonly parts: InterpreterParts) {
    const { memory, processor, state, guest } = parts;
    const { ram } = memory;
    const { buffer } = memory.memory;
    const area = memory.areaOf(processor);
    const code = area + PROCESSOR_AREA.uops;
    this.#state = state;
    this.#words = new Uint32Array(buffer);
    this.#lookup = area + PROCESSOR_AREA.blocks;
    this.#fields = new EngineFields(buffer, area + PROCESSOR_AREA.engine);
    this.#tags = new CodeTags(state, guest, this.#fields, parts.feature);
    this.#blocks = new BlockCache(buffer, ram, code, area + PROCESSOR_AREA.bytes - code);
    this.#finder = new BlockFinder(state, guest, ram, this.#blocks, this.#tags);
    this.#slowPaths = new SlowPaths(buffer, this.#fields, this.#blocks, guest, parts.environment);
    ram.onNewCode((page) => guest.tlb.flushWritesTo(page));
    const module = new WebAssembly.Module(
      generateInterpreter({
        state: area + PROCESSOR_AREA.state,
        engine: area + PROCESSOR_AREA.engine,
        lookup: this.#lookup,
        lookupEntries: LOOKUP_ENTRIES,
        tlbEntries: TLB_ENTRIES,
      }),
    );
    const slowPaths = this.#slowPaths;
    const instance = new WebAssembly.Instance(module, {
      host: {
        memory: memory.memory,
        load: (uop: number, size: number) => slowPaths.load(uop, size),
        store: (uop: number, size: number) => slowPaths.store(uop, size),
        evaluate: (uop: number) => slowPaths.evaluate(uop),
      },
    });
    this.#interpret = instance.exports["run"] as () => number;
  }

  run(budget: number): boolean {
    const state = this.#state;
    this.#resumeFlag = state.get32(SLOT_FLAGS_REST) & RF;
    const shadow = state.get32(SLOT_INTERRUPTIBILITY) & INTERRUPT_SHADOW;
    if (this.#resumeFlag === 0 && shadow === 0) return this.#run(budget, false) !== OUTCOME.EXIT;
    // Both last for one instruction, which may set either anew; one that does not complete keeps RF as it was.
    state.set32(SLOT_FLAGS_REST, state.get32(SLOT_FLAGS_REST) & ~RF);
    const outcome = this.#run(1, true);
    if (outcome === OUTCOME.EXIT) {
      this.#restoreResumeFlag();
      return false;
    }
    if (outcome === OUTCOME.COMPLETED) {
      state.set32(SLOT_INTERRUPTIBILITY, state.get32(SLOT_INTERRUPTIBILITY) & ~shadow);
    }
    return true;
  }

  #run(budget: number, single: boolean): Outcome {
    this.#single = single;
    this.#reported = budget;
    this.#setFuel(budget);
    this.#tags.enter(this.#single);
    for (;;) {
      switch (this.#interpret()) {
        case LEAVE.MISS:
        case LEAVE.STOP:
          this.#unlink();
          if (this.#fuel() === 0) return this.#boundary(OUTCOME.COMPLETED);
          if (this.#provide()) break;
          this.#boundary(OUTCOME.EXIT);
          if (this.#finder.exited) {
            this.#finder.exited = false;
            return OUTCOME.EXIT;
          }
          this.#restoreResumeFlag();
          this.parts.stepper.step();
          return OUTCOME.FAULT;
        case LEAVE.FUEL:
          if (this.#fuel() === 0) return this.#boundary(OUTCOME.COMPLETED);
          this.#single = true;
          this.#tags.enter(this.#single);
          break;
        case LEAVE.SYSTEM:
          return this.#system();
        case LEAVE.RAISE: {
          const fault = this.#fields.get32(ENGINE_FIELD.fault);
          this.#unwind();
          if (fault === VECTOR.UD) this.#noteMissing();
          return this.#deliver(
            new GuestException(fault & 0xff, fault >>> 31 === 1 ? (fault >>> 8) & 0x7f_ffff : undefined),
          );
        }
        case LEAVE.ACCESS: {
          const signal = this.#slowPaths.takeSignal();
          this.#unwind();
          if (signal instanceof GuestException) return this.#deliver(signal);
          this.#boundary(OUTCOME.EXIT);
          if (signal === VM_EXIT) return OUTCOME.EXIT;
          throw signal;
        }
      }
    }
  }

  /** RIP is at an instruction that has not begun: report what has retired before it. */
  #boundary(outcome: Outcome): Outcome {
    this.#state.copy64(SLOT_RIP, SLOT_CURRENT_RIP);
    this.#report();
    return outcome;
  }

  // --- what has retired

  #fuel(): number {
    // A budget is a safe integer: the high word matters rarely.
    return this.#state.get32(SLOT_FUEL) + this.#state.get32(SLOT_FUEL + 4) * TWO_32;
  }

  #setFuel(value: number): void {
    this.#state.set32(SLOT_FUEL, value >>> 0);
    this.#state.set32(SLOT_FUEL + 4, Math.floor(value / TWO_32));
  }

  #report(): void {
    const left = this.#fuel();
    if (left === this.#reported) return;
    const retired = this.#reported - left;
    this.#reported = left;
    this.parts.events.retired(retired);
  }

  // --- leaving a block

  /** Put RIP on the instruction that did not complete, and give back the fuel of what did not retire. */
  #unwind(): void {
    const state = this.#state;
    const block = this.#blocks.at(this.#fields.get32(ENGINE_FIELD.block));
    const index = this.#blocks.instructionAt(block, this.#fields.get32(ENGINE_FIELD.uop));
    const offset = BigInt(block.offsets[index] as number);
    state.set64(SLOT_RIP, BigInt.asUintN(instructionPointerBits(block.bitness), state.get64(SLOT_RIP) + offset));
    this.#setFuel(this.#fuel() + block.offsets.length - index);
  }

  /** Cut the link that led to a block which has been dropped. */
  #unlink(): void {
    const link = this.#fields.get32(ENGINE_FIELD.link);
    if (link === 0) return;
    this.#words[(link >> 2) + 2] = 0;
    this.#fields.set32(ENGINE_FIELD.link, 0);
  }

  /** An instruction without a meaning is the last of its block, and such a block raises #UD for no other. */
  #noteMissing(): void {
    const { missing } = this.#blocks.at(this.#fields.get32(ENGINE_FIELD.block));
    if (missing !== undefined) this.parts.onMissing?.(missing);
  }

  #restoreResumeFlag(): void {
    const state = this.#state;
    if (this.#resumeFlag !== 0) state.set32(SLOT_FLAGS_REST, state.get32(SLOT_FLAGS_REST) | RF);
  }

  #deliver(fault: GuestException): Outcome {
    this.#boundary(OUTCOME.FAULT);
    this.#restoreResumeFlag();
    this.parts.events.exception(fault);
    return OUTCOME.FAULT;
  }

  #system(): Outcome {
    const state = this.#state;
    const { system } = this.#blocks.at(this.#fields.get32(ENGINE_FIELD.block));
    if (system === undefined) throw new RangeError("a system instruction is alone in its block");
    const { words } = state;
    const rip = words[SLOT_RIP >> 2] as number;
    const next = rip + system.length;
    words[SLOT_NEXT_RIP >> 2] = next;
    words[(SLOT_NEXT_RIP >> 2) + 1] =
      (words[(SLOT_RIP >> 2) + 1] as number) + (system.long && next > 0xffff_ffff ? 1 : 0);
    // It retires when it has completed.
    this.#setFuel(this.#fuel() + 1);
    this.#boundary(OUTCOME.FAULT);
    if (this.parts.exits?.(system.instruction) === true) return OUTCOME.EXIT;
    try {
      runSystemInstruction(this.parts.environment, system.handler, system.instruction);
    } catch (signal) {
      // Returned rather than thrown on: every frame that an exception passes costs as much as the exit itself.
      if (signal === VM_EXIT) return OUTCOME.EXIT;
      if (!(signal instanceof GuestException)) throw signal;
      this.#restoreResumeFlag();
      this.parts.events.exception(signal);
      return OUTCOME.FAULT;
    }
    state.copy64(SLOT_NEXT_RIP, SLOT_RIP);
    this.parts.events.retired(1);
    return OUTCOME.COMPLETED;
  }

  // --- finding blocks

  /** Put the block at RIP into the interpreter's table. False: the stepper has to execute what is there. */
  #provide(): boolean {
    const block = this.#finder.atRip(this.#single);
    if (block === undefined) return false;
    // The fetch may have pushed another translation out.
    if (this.#tags.stale) this.#tags.enter(this.#single);
    const low = this.#state.get32(SLOT_RIP);
    const entry = (this.#lookup + lookupIndex(low, LOOKUP_ENTRIES) * LOOKUP_ENTRY_BYTES) >> 2;
    this.#words[entry] = low;
    this.#words[entry + 1] = this.#state.get32(SLOT_RIP + 4);
    this.#words[entry + 2] = this.#fields.get32(ENGINE_FIELD.tag);
    this.#words[entry + 3] = block.address;
    return true;
  }
}
