import {
  EFER,
  ENGINE_FIELD,
  GuestException,
  InstructionStream,
  LEAVE,
  LOOKUP_ENTRY_BYTES,
  MAX_INSTRUCTION_BYTES,
  RFLAGS,
  StateValues,
  VECTOR,
  WILL_WRITE,
  instructionPointerBits,
  decodeUop,
  generateInterpreter,
  isCanonical,
  liftBlock,
  lookupIndex,
  runSystemInstruction,
  slot,
  type AccessSize,
  type CodeMode,
  type CpuState,
  type DecodedInstruction,
  type Machine,
  type MemoryAccess,
} from "@tapvisor/x86-isa";
import { PROCESSOR_AREA, type HostMemory } from "../memory/host-memory.js";
import type { GuestMemory } from "../paging/guest-memory.js";
import {
  ACCESS_FETCH,
  ACCESS_READ,
  ACCESS_WRITE,
  PRIVILEGE_SUPERVISOR,
  PRIVILEGE_USER,
  TLB_ENTRIES,
} from "../paging/index.js";
import { VM_EXIT } from "../vmx/vm-exit.js";
import { BlockCache, blockKey, type Block } from "./block-cache.js";
import { CODE_MODE_CR0, CODE_MODE_CR4, codeMode, codeModeName } from "./code-mode.js";
import type { FastPath } from "./engine.js";
import type { GuestEvents } from "./events.js";
import type { Stepper } from "./stepper.js";

const SLOT_RIP = slot("rip");
const SLOT_FUEL = slot("fuel");
const SLOT_CURRENT_RIP = slot("currentRip");
const SLOT_NEXT_RIP = slot("nextRip");
const SLOT_FLAGS_REST = slot("flagsRest");
const SLOT_INTERRUPTIBILITY = slot("interruptibility");
const SLOT_CS_BASE = slot("cs.base");
const SLOT_CS_LIMIT = slot("cs.limit");

const RF = Number(RFLAGS.RF);
/** Blocking by STI and by MOV SS. */
const SHADOW = 3;

const PAGE_BYTES = 4096;
const LOOKUP_ENTRIES = 16_384;
/** Tags that are remembered. */
const TAGS = 1024;
/** Bytes of code that one block is lifted from at most. */
const CODE_WINDOW = 512;
/** High word of a memory row's constant. */
const ACCESS_STACK = 1;
const ACCESS_SYSTEM = 2;

/** Words of the state that decide about code mode and code addresses, with the bits of them that do. */
const MODE_WORDS: readonly (readonly [word: number, mask: number])[] = [
  [slot("cr0") >> 2, CODE_MODE_CR0],
  [slot("cr4") >> 2, CODE_MODE_CR4],
  [slot("efer") >> 2, Number(EFER.LMA)],
  [SLOT_FLAGS_REST >> 2, Number(RFLAGS.VM)],
  ...(["cs", "ds", "es", "ss"] as const).flatMap((name) => {
    const base = slot(`${name}.base`) >> 2;
    return [base, base + 2, base + 3].map((word) => [word, -1] as const);
  }),
];

const MODE_WORD = Int32Array.from(MODE_WORDS, ([word]) => word);
const MODE_MASK = Int32Array.from(MODE_WORDS, ([, mask]) => mask);

/** How a run ended: nothing stands in the way of the next one, a fault has been delivered, or the guest has left. */
const OUTCOME = { COMPLETED: 0, FAULT: 1, EXIT: 2 } as const;
type Outcome = (typeof OUTCOME)[keyof typeof OUTCOME];

/** A code mode with the numbers that it goes by. */
interface ModeEntry {
  readonly mode: CodeMode;
  /** Distinguishes blocks; blocks of one instruction have the number after it. */
  readonly number: number;
}

export interface InterpreterParts {
  readonly memory: HostMemory;
  readonly processor: number;
  readonly state: CpuState;
  readonly guest: GuestMemory;
  readonly environment: Machine;
  readonly events: GuestEvents;
  readonly stepper: Stepper;
  readonly feature: (name: string) => boolean;
  /** Whether the guest leaves at this system instruction for sure, which is then recorded; the rest the environment decides. */
  readonly exits?: (instruction: DecodedInstruction) => boolean;
  /** Told the syntax of each instruction that raises #UD because the processor does not have it. */
  readonly onMissing?: ((syntax: string) => void) | undefined;
}

/**
 * The quick engine: translates blocks and runs them in the generated WebAssembly interpreter. What it cannot do exactly
 * (a fetch that faults, bytes that are no instruction) it leaves to the stepper.
 */
export class Interpreter implements FastPath {
  readonly #state: CpuState;
  readonly #guest: GuestMemory;
  readonly #words: Uint32Array;
  readonly #view: DataView;
  readonly #engine: number;
  readonly #lookup: number;
  readonly #blocks: BlockCache;
  readonly #interpret: () => number;
  /** Runs rows by their bigint meaning. */
  readonly #values: StateValues;

  readonly #modes = new Map<string, ModeEntry>();
  /** Tags by what a linear address of code depends on: generation of the TLB, code mode, segment. */
  readonly #tags = new Map<number | string, number>();
  #tagGeneration = -1;
  #newestTag = 0;
  #mode: ModeEntry | undefined;
  #user = false;
  #alignmentChecked = false;
  #tagSingle = false;
  readonly #signature = new Int32Array(MODE_WORDS.length).fill(-1);
  #single = false;
  /** RF as it was before the instruction. */
  #resumeFlag = 0;
  /** A fetch made the guest leave non-root operation. */
  #fetchExit = false;
  /** What made the slow path fail. */
  #signal: unknown;
  /** Fuel when instructions were last reported as retired. */
  #reported = 0;

  constructor(private readonly parts: InterpreterParts) {
    const { memory, processor, state, guest } = parts;
    this.#state = state;
    this.#guest = guest;
    const { buffer } = memory.memory;
    const area = memory.areaOf(processor);
    this.#words = new Uint32Array(buffer);
    this.#view = new DataView(buffer);
    this.#values = new StateValues(parts.environment);
    this.#engine = area + PROCESSOR_AREA.engine;
    this.#lookup = area + PROCESSOR_AREA.blocks;
    const code = area + PROCESSOR_AREA.uops;
    this.#blocks = new BlockCache(buffer, memory.ram, code, area + PROCESSOR_AREA.bytes - code);
    memory.ram.onNewCode((page) => guest.tlb.flushWritesTo(page));
    const module = new WebAssembly.Module(
      generateInterpreter({
        state: area + PROCESSOR_AREA.state,
        engine: this.#engine,
        lookup: this.#lookup,
        lookupEntries: LOOKUP_ENTRIES,
        tlbEntries: TLB_ENTRIES,
      }),
    );
    const instance = new WebAssembly.Instance(module, {
      host: {
        memory: memory.memory,
        load: (uop: number, size: number) => this.#slowLoad(uop, size),
        store: (uop: number, size: number) => this.#slowStore(uop, size),
        evaluate: (uop: number) => this.#evaluate(uop),
      },
    });
    this.#interpret = instance.exports["run"] as () => number;
  }

  run(budget: number): boolean {
    const state = this.#state;
    this.#resumeFlag = state.get32(SLOT_FLAGS_REST) & RF;
    const shadow = state.get32(SLOT_INTERRUPTIBILITY) & SHADOW;
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
    this.#enterMode();
    for (;;) {
      switch (this.#interpret()) {
        case LEAVE.MISS:
        case LEAVE.STOP:
          this.#unlink();
          if (this.#fuel() === 0) return this.#boundary(OUTCOME.COMPLETED);
          if (this.#provide()) break;
          this.#boundary(OUTCOME.EXIT);
          if (this.#fetchExit) {
            this.#fetchExit = false;
            return OUTCOME.EXIT;
          }
          this.#restoreResumeFlag();
          this.parts.stepper.step();
          return OUTCOME.FAULT;
        case LEAVE.FUEL:
          if (this.#fuel() === 0) return this.#boundary(OUTCOME.COMPLETED);
          this.#single = true;
          this.#enterMode();
          break;
        case LEAVE.SYSTEM:
          return this.#system();
        case LEAVE.RAISE: {
          const fault = this.#field(ENGINE_FIELD.fault);
          this.#unwind();
          if (fault === VECTOR.UD) this.#noteMissing();
          return this.#deliver(
            new GuestException(fault & 0xff, fault >>> 31 === 1 ? (fault >>> 8) & 0x7f_ffff : undefined),
          );
        }
        case LEAVE.ACCESS: {
          const signal = this.#signal;
          this.#signal = undefined;
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
    return this.#state.get32(SLOT_FUEL) + this.#state.get32(SLOT_FUEL + 4) * 0x1_0000_0000;
  }

  #setFuel(value: number): void {
    this.#state.set32(SLOT_FUEL, value >>> 0);
    this.#state.set32(SLOT_FUEL + 4, Math.floor(value / 0x1_0000_0000));
  }

  #report(): void {
    const left = this.#fuel();
    if (left === this.#reported) return;
    const retired = this.#reported - left;
    this.#reported = left;
    this.parts.events.retired(retired);
  }

  // --- leaving a block

  #field(offset: number): number {
    return this.#words[(this.#engine + offset) >> 2] as number;
  }

  #setField(offset: number, value: number): void {
    this.#words[(this.#engine + offset) >> 2] = value;
  }

  /** Put RIP on the instruction that did not complete, and give back the fuel of what did not retire. */
  #unwind(): void {
    const state = this.#state;
    const block = this.#blocks.at(this.#field(ENGINE_FIELD.block));
    const index = this.#blocks.instructionAt(block, this.#field(ENGINE_FIELD.uop));
    const offset = BigInt(block.offsets[index] as number);
    state.set64(SLOT_RIP, BigInt.asUintN(instructionPointerBits(block.bitness), state.get64(SLOT_RIP) + offset));
    this.#setFuel(this.#fuel() + block.offsets.length - index);
  }

  /** Cut the link that led to a block which has been dropped. */
  #unlink(): void {
    const link = this.#field(ENGINE_FIELD.link);
    if (link === 0) return;
    this.#words[(link >> 2) + 2] = 0;
    this.#setField(ENGINE_FIELD.link, 0);
  }

  /** An instruction without a meaning is the last of its block, and such a block raises #UD for no other. */
  #noteMissing(): void {
    const { missing } = this.#blocks.at(this.#field(ENGINE_FIELD.block));
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
    const { system } = this.#blocks.at(this.#field(ENGINE_FIELD.block));
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

  // --- finding and translating blocks

  /** Set what the interpreter looks blocks and data up by: tag of the code mode, TLB arrays of the privilege. */
  #enterMode(): void {
    const { user, tlb, alignmentChecked } = this.#guest;
    const single = this.#single;
    const unchanged =
      user === this.#user &&
      single === this.#tagSingle &&
      tlb.generation(user) === this.#tagGeneration &&
      alignmentChecked === this.#alignmentChecked;
    const signatureChanged = this.#signatureChanged();
    if (!signatureChanged && unchanged) return;
    this.#alignmentChecked = alignmentChecked;
    this.#user = user;
    this.#tagSingle = single;
    const entry = this.#mode === undefined || signatureChanged ? this.#findMode() : this.#mode;
    this.#mode = entry;
    const generation = (this.#tagGeneration = tlb.generation(user));
    const key = this.#tagKey(generation, entry);
    let tag = this.#tags.get(key);
    if (tag === undefined) {
      // Most generations never come back.
      if (this.#tags.size >= TAGS) this.#tags.clear();
      tag = ++this.#newestTag;
      this.#tags.set(key, tag);
    }
    this.#setField(ENGINE_FIELD.tag, tag);
    // The slow path looks at alignment.
    const none = alignmentChecked ? tlb.emptyArrayOffset : undefined;
    this.#setField(ENGINE_FIELD.readTlb, none ?? tlb.arrayOffset(ACCESS_READ, user));
    this.#setField(ENGINE_FIELD.writeTlb, none ?? tlb.arrayOffset(ACCESS_WRITE, user));
  }

  /** What a tag stands for, as a number unless CS is out of the ordinary: strings are slow to make. */
  #tagKey(generation: number, { mode, number }: ModeEntry): number | string {
    const plain = (generation * 0x1_0000 + number) * 2 + (this.#single ? 1 : 0);
    if (mode.bitness === 64) return plain;
    const state = this.#state;
    const limit = state.get32(SLOT_CS_LIMIT);
    const base = state.get32(SLOT_CS_BASE);
    return base === 0 && limit === 0xffff_ffff ? plain : `${plain},${base},${limit}`;
  }

  #findMode(): ModeEntry {
    const mode = codeMode(this.#state, this.parts.feature);
    const name = codeModeName(mode);
    let entry = this.#modes.get(name);
    if (entry === undefined) {
      entry = { mode, number: this.#modes.size * 2 };
      this.#modes.set(name, entry);
    }
    return entry;
  }

  /** Has anything changed that the code mode is made of? Remembers what it is now. */
  #signatureChanged(): boolean {
    const { words } = this.#state;
    const signature = this.#signature;
    let changed = false;
    for (let i = 0; i < MODE_WORD.length; i++) {
      const word = (words[MODE_WORD[i] as number] as number) & (MODE_MASK[i] as number);
      if (signature[i] !== word) {
        signature[i] = word;
        changed = true;
      }
    }
    return changed;
  }

  /** Put the block at RIP into the interpreter's table. False: the stepper has to execute what is there. */
  #provide(): boolean {
    const block = this.#blockAtRip();
    if (block === undefined) return false;
    // The fetch may have pushed another translation out.
    if (this.#tagGeneration !== this.#guest.tlb.generation(this.#guest.user)) this.#enterMode();
    const low = this.#state.get32(SLOT_RIP);
    const entry = (this.#lookup + lookupIndex(low, LOOKUP_ENTRIES) * LOOKUP_ENTRY_BYTES) >> 2;
    this.#words[entry] = low;
    this.#words[entry + 1] = this.#state.get32(SLOT_RIP + 4);
    this.#words[entry + 2] = this.#field(ENGINE_FIELD.tag);
    this.#words[entry + 3] = block.address;
    return true;
  }

  #blockAtRip(): Block | undefined {
    const state = this.#state;
    const entry = this.#mode;
    if (entry === undefined) return undefined;
    const { mode } = entry;
    const rip = state.get64(SLOT_RIP);
    const long = mode.bitness === 64;
    if (long && !isCanonical(rip)) return undefined;
    const linear = long ? rip : BigInt.asUintN(32, state.get64(SLOT_CS_BASE) + rip);
    const room = long ? CODE_WINDOW : state.get32(SLOT_CS_LIMIT) - Number(rip) + 1;
    // The limit is checked before the page is looked at, and marked as accessed.
    if (room < 1) return undefined;
    const physical = this.#translate(linear);
    if (physical < 0) return undefined;
    const key = blockKey(physical, entry.number + (this.#single ? 1 : 0));
    const known = this.#blocks.find(key);
    if (known !== undefined && this.#fits(known, rip, room)) {
      if (known.continued === undefined) return known;
      if (known.continued === this.#translate(nextPage(linear, long))) return known;
    }
    return this.#translateBlock(key, physical, linear, rip, room);
  }

  /** A system instruction's decoded form holds addresses relative to where it was decoded. */
  #fits(block: Block, rip: bigint, room: number): boolean {
    return block.length <= room && (block.system === undefined || block.ip === rip);
  }

  /** Host physical address to fetch from; -1 where the fetch would fault or meets no RAM. */
  #translate(linear: bigint): number {
    const privilege = this.#guest.user ? PRIVILEGE_USER : PRIVILEGE_SUPERVISOR;
    try {
      const physical = this.#guest.translate(linear, ACCESS_FETCH, privilege);
      return this.parts.memory.ram.contains(physical, 1) ? physical : -1;
    } catch (signal) {
      if (signal === VM_EXIT) this.#fetchExit = true;
      else if (!(signal instanceof GuestException)) throw signal;
      return -1;
    }
  }

  #translateBlock(key: number, physical: number, linear: bigint, rip: bigint, room: number): Block | undefined {
    const inPage = PAGE_BYTES - (physical % PAGE_BYTES);
    const window = Math.min(room, inPage, CODE_WINDOW);
    if (window < 1) return undefined;
    let continued: number | undefined;
    let lifted = this.#lift(this.parts.memory.ram.view(physical, window), rip, this.#single);
    if (lifted === undefined && room > inPage && inPage < MAX_INSTRUCTION_BYTES) {
      // The first instruction may go on in the next page.
      continued = this.#translate(nextPage(linear, this.#mode?.mode.bitness === 64));
      if (continued < 0) return undefined;
      const bytes = new Uint8Array(Math.min(room, MAX_INSTRUCTION_BYTES));
      bytes.set(this.parts.memory.ram.view(physical, inPage));
      bytes.set(this.parts.memory.ram.view(continued, bytes.length - inPage), inPage);
      lifted = this.#lift(bytes, rip, true);
    }
    // What is no instruction, and what has not been written, is the stepper's to raise.
    if (lifted === undefined || lifted.instructions.length === 0) return undefined;
    if (!this.#blocks.hasRoom(lifted.uops.length)) {
      this.#blocks.clear();
      this.#tags.clear();
      this.#tagGeneration = -1;
      this.#enterMode();
    }
    return this.#blocks.add(key, lifted, physical, continued);
  }

  #lift(code: Uint8Array, rip: bigint, single: boolean): ReturnType<typeof liftBlock> {
    const mode = this.#mode?.mode;
    if (mode === undefined) return undefined;
    const stream = new InstructionStream(code, rip, mode.bitness);
    try {
      return liftBlock(() => stream.next(), rip, mode, single ? 1 : undefined);
    } finally {
      stream.free();
    }
  }

  // --- slow paths

  /** The bigint meaning of a row. */
  #evaluate(uop: number): number {
    this.#blocks.running = uop;
    this.#blocks.runningBlock = this.#field(ENGINE_FIELD.block);
    try {
      this.#values.run(decodeUop(this.#view, uop));
      return 0;
    } catch (signal) {
      this.#signal = signal;
      return 1;
    } finally {
      this.#blocks.running = 0;
    }
  }

  #access(uop: number, write: boolean, willWrite: boolean): MemoryAccess {
    const flags = this.#words[(uop + 12) >> 2] as number;
    return {
      write,
      willWrite,
      stack: (flags & ACCESS_STACK) !== 0,
      system: (flags & ACCESS_SYSTEM) !== 0,
    };
  }

  #slowLoad(uop: number, sizeAndKind: number): number {
    const size = (sizeAndKind & 0xff) as AccessSize;
    const willWrite = (sizeAndKind & WILL_WRITE) !== 0;
    const linear = this.#view.getBigUint64(this.#engine + ENGINE_FIELD.linear, true);
    this.#blocks.running = uop;
    this.#blocks.runningBlock = this.#field(ENGINE_FIELD.block);
    try {
      const value = this.#guest.load(linear, size, this.#access(uop, false, willWrite));
      this.#view.setBigUint64(this.#engine + ENGINE_FIELD.value, BigInt.asUintN(64, value), true);
      if (size === 16) this.#view.setBigUint64(this.#engine + ENGINE_FIELD.value + 8, value >> 64n, true);
      return 0;
    } catch (signal) {
      this.#signal = signal;
      return 1;
    } finally {
      this.#blocks.running = 0;
    }
  }

  #slowStore(uop: number, size: number): number {
    const linear = this.#view.getBigUint64(this.#engine + ENGINE_FIELD.linear, true);
    let value = this.#view.getBigUint64(this.#engine + ENGINE_FIELD.value, true);
    if (size === 16) value |= this.#view.getBigUint64(this.#engine + ENGINE_FIELD.value + 8, true) << 64n;
    else value = BigInt.asUintN(size * 8, value);
    this.#blocks.running = uop;
    this.#blocks.runningBlock = this.#field(ENGINE_FIELD.block);
    try {
      this.#guest.store(linear, size as AccessSize, value, this.#access(uop, true, false));
      return 0;
    } catch (signal) {
      this.#signal = signal;
      return 1;
    } finally {
      this.#blocks.running = 0;
    }
  }
}

/** Linear address of the page after the one that holds `linear`. */
function nextPage(linear: bigint, long: boolean): bigint {
  return BigInt.asUintN(long ? 64 : 32, (linear | 0xfffn) + 1n);
}
