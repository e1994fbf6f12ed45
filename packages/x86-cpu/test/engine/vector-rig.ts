import { CpuState, GuestException, slot, VECTOR, type Bitness, type ExecutionEnvironment } from "@tapvisor/x86-isa";
import {
  CODE,
  CODE_BYTES,
  CODE_FILLER,
  CODE_OFFSET,
  DATA_END,
  DATA_START,
  WINDOW,
  type Case,
} from "../../../x86-isa/test/vectors/layout.js";
import { outcomeOf, setUpState } from "../../../x86-isa/test/vectors/environment.js";
import { startIp, type Origin, type Outcome } from "../../../x86-isa/test/vectors/program.js";
import { NotLifted, type Executor } from "../../../x86-isa/test/vectors/run.js";
import type { GuestEvents } from "../../src/engine/events.js";
import { Interpreter } from "../../src/engine/interpreter.js";
import { Stepper } from "../../src/engine/stepper.js";
import { HostMemory, PROCESSOR_AREA } from "../../src/memory/host-memory.js";
import { GuestMemory } from "../../src/paging/guest-memory.js";
import { IDENTITY, Pager, Tlb } from "../../src/paging/index.js";

const RIP = slot("rip");
const PAGE = 4096;
/** Where the page of code lies in RAM; data pages lie at their linear addresses. */
const CODE_PAGE = 0x8000;
const TABLES = 0x10_000;
/** Present, writable, of user mode. */
const DATA_RIGHTS = 7;
/** Present, of user mode. */
const CODE_RIGHTS = 5;

const refuse = (): never => {
  throw new GuestException(VECTOR.UD);
};

/** A processor in user mode with the recorder's pages mapped, and nothing else. */
export class VectorRig implements GuestEvents {
  readonly attention = false;
  readonly memory = new HostMemory(1 << 20, 1);
  readonly state: CpuState;
  readonly guest: GuestMemory;
  readonly stepper: Stepper;
  readonly interpreter: Interpreter;
  fault: GuestException | undefined;
  /** An instruction that raised #UD because it has not been written. */
  missing: string | undefined;
  retiredCount = 0;
  #budget = 1;

  constructor(readonly bitness: Bitness) {
    const { buffer } = this.memory.memory;
    const { ram } = this.memory;
    this.state = new CpuState(buffer, PROCESSOR_AREA.state);
    const pager = new Pager(this.state, ram, { physicalAddressBits: 46, page1Gb: true }, IDENTITY);
    this.guest = new GuestMemory(this.state, ram, pager, new Tlb(buffer, PROCESSOR_AREA.tlb, ram.base));
    const offered: Partial<ExecutionEnvironment> = {
      state: this.state,
      load: this.guest.load.bind(this.guest),
      store: this.guest.store.bind(this.guest),
      probe: this.guest.probe.bind(this.guest),
      pause: () => undefined,
      readXcr: () => this.state.get64(slot("xcr0")),
      modeChanged: () => this.guest.modeChanged(),
    };
    // A system instruction that a case runs into by chance raises #UD.
    const environment = new Proxy(offered, {
      get: (target, name: keyof ExecutionEnvironment) => target[name] ?? refuse,
    }) as ExecutionEnvironment;
    const feature = (): boolean => true;
    const onMissing = (syntax: string): void => {
      this.missing = syntax;
    };
    this.stepper = new Stepper(this.state, this.guest, environment, this, feature, onMissing);
    const parts = {
      memory: this.memory,
      processor: 0,
      state: this.state,
      guest: this.guest,
      environment,
      events: this,
    };
    this.interpreter = new Interpreter({ ...parts, stepper: this.stepper, feature, onMissing });
    this.#map();
  }

  /** Page tables: 4-level for 64-bit code, two levels of 32-bit entries for the others. */
  #map(): void {
    const { ram } = this.memory;
    const pages: [linear: number, entry: number][] = [[CODE, CODE_PAGE | CODE_RIGHTS]];
    for (let at = DATA_START; at < DATA_END; at += PAGE) pages.push([at, at | DATA_RIGHTS]);
    let free = TABLES + PAGE;
    const next = (table: number, index: number, size: 4 | 8): number => {
      const at = table + index * size;
      const entry = ram.readU32(at);
      if (entry !== 0) return entry & ~0xfff;
      const made = free;
      free += PAGE;
      ram.writeU32(at, made | DATA_RIGHTS);
      return made;
    };
    for (const [linear, entry] of pages) {
      if (this.bitness === 64) {
        const directory = next(next(TABLES, 0, 8), linear >>> 30, 8);
        ram.writeU32(next(directory, (linear >>> 21) & 511, 8) + ((linear >>> 12) & 511) * 8, entry);
      } else {
        ram.writeU32(next(TABLES, linear >>> 22, 4) + ((linear >>> 12) & 1023) * 4, entry);
      }
    }
  }

  /** State, memory and code: one case, its instruction followed by others that go on from it. */
  setUp(c: Case, origin: Origin, code: Uint8Array = c.bytes): void {
    const { ram } = this.memory;
    setUpState(this.state, c, this.bitness, origin);
    this.state.set64(slot("cr3"), BigInt(TABLES));
    this.guest.modeChanged();
    const data = ram.view(DATA_START, DATA_END - DATA_START);
    data.fill(0);
    data.set(c.memory, WINDOW - DATA_START);
    // A case before may have jumped there, so it may have been translated.
    ram.written(DATA_START, DATA_END - DATA_START);
    const at = CODE_PAGE + CODE_OFFSET;
    ram.view(at, 512).fill(0x90).set(code);
    ram.written(at, 512);
    this.fault = undefined;
    this.missing = undefined;
    this.retiredCount = 0;
  }

  /** A sequence of instructions, with INT3 behind it. */
  setUpSequence(c: Case, origin: Origin): void {
    this.setUp(c, origin);
    setUpState(this.state, c, this.bitness, origin, "sequence");
    this.state.set64(slot("cr3"), BigInt(TABLES));
    this.guest.modeChanged();
    this.memory.ram.view(CODE_PAGE, CODE_BYTES).fill(CODE_FILLER).set(c.bytes, CODE_OFFSET);
    this.memory.ram.written(CODE_PAGE, CODE_BYTES);
  }

  /**
   * Execute a sequence to its end, or to a fault.
   *
   * @param limit instructions after which it counts as lost
   */
  executeSequence(limit: number): void {
    while (this.fault === undefined && this.retiredCount < limit) {
      this.#budget = limit - this.retiredCount;
      this.interpreter.run(this.#budget);
    }
    this.#budget = 1;
  }

  /** What the sequence ended with; the INT3 behind it is its end. */
  sequenceOutcome(c: Case): Outcome {
    const end = startIp(this.bitness) + BigInt(c.bytes.length);
    if (this.fault !== undefined && this.state.get64(RIP) === end) this.fault = undefined;
    return this.outcome(c);
  }

  /** Execute one instruction, a repeated one to its end. */
  executeOne(): void {
    const start = startIp(this.bitness);
    do this.interpreter.run(1);
    while (this.fault === undefined && this.state.get64(RIP) === start);
  }

  outcome(c: Case): Outcome {
    const data = this.memory.ram.view(DATA_START, DATA_END - DATA_START);
    return outcomeOf(this.state, data, c, this.bitness, this.fault?.vector);
  }

  // --- GuestEvents

  budget(): number {
    return this.#budget;
  }
  retired(instructions: number): void {
    this.retiredCount += instructions;
  }
  boundary(): void {
    // Nothing is ever due.
  }
  idle(): void {
    throw new Error("a program in user mode does not halt");
  }
  exception(fault: GuestException): void {
    this.fault = fault;
  }
  debugTrap(): void {
    // The recorder single-steps; here TF is only part of the flags that PUSHF stores.
  }
}

/** Runs the cases of vectors on the interpreter. */
export function interpreterExecutor(bitness: Bitness): Executor {
  const rig = new VectorRig(bitness);
  return (c, _, origin) => {
    rig.setUp(c, origin);
    rig.executeOne();
    if (rig.missing !== undefined) throw new NotLifted(rig.missing);
    return rig.outcome(c);
  };
}
