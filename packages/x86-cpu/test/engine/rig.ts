import {
  Assembler,
  CpuState,
  GuestException,
  slot,
  type AccessSize,
  type Bitness,
  type ExecutionEnvironment,
  type MemoryAccess,
  type SlotName,
} from "@tapvisor/x86-isa";
import type { GuestEvents } from "../../src/engine/events.js";
import { Interpreter } from "../../src/engine/interpreter.js";
import { Stepper } from "../../src/engine/stepper.js";
import { HostMemory, PROCESSOR_AREA } from "../../src/memory/host-memory.js";
import { GuestMemory } from "../../src/paging/guest-memory.js";
import { IDENTITY, Pager, Tlb } from "../../src/paging/index.js";

export const CODE = 0x10_000;
export const DATA = 0x40_000;
export const STACK = 0x80_000;
/** Guest-physical address of the identity map's root in 64-bit mode. */
const PML4 = 0x1000;

/** Memory that a test may write to: the first two megabytes. */
const DIRTY_BYTES = 2 << 20;
const TF = 0x100;
const CODE64 = 0xa09b;
const CODE32 = 0xc09b;
const CODE16 = 0x9b;
const DATA32 = 0xc093;
const DATA16 = 0x93;
/** OSFXSR and OSXMMEXCPT: an operating system that knows SSE. */
const CR4_SSE = 0x600n;

/** A bare processor: memory, paging, both ways to execute, and no VT-x around it. */
export class Rig implements GuestEvents {
  readonly memory: HostMemory;
  readonly state: CpuState;
  readonly guest: GuestMemory;
  readonly stepper: Stepper;
  readonly interpreter: Interpreter;
  readonly faults: GuestException[] = [];
  /** Instructions that raised #UD because there is no such thing. */
  readonly missing: string[] = [];
  retiredCount = 0;
  attention = false;
  limit = Number.POSITIVE_INFINITY;
  /** Single-step traps; each ends single-stepping. */
  trapCount = 0;
  /** What to do with a fault; without it a run ends. */
  onFault: ((fault: GuestException) => void) | undefined;

  constructor(readonly bitness: Bitness) {
    this.memory = new HostMemory(8 << 20, 1);
    const buffer = this.memory.memory.buffer;
    const { ram } = this.memory;
    this.state = new CpuState(buffer, PROCESSOR_AREA.state);
    const pager = new Pager(this.state, ram, { physicalAddressBits: 46, page1Gb: true }, IDENTITY);
    this.guest = new GuestMemory(this.state, ram, pager, new Tlb(buffer, PROCESSOR_AREA.tlb, ram.base));
    this.#setUpMode();
    const offered = {
      state: this.state,
      load: (linear: bigint, size: AccessSize, access: MemoryAccess) => this.guest.load(linear, size, access),
      store: (linear: bigint, size: AccessSize, value: bigint, access: MemoryAccess) =>
        this.guest.store(linear, size, value, access),
      probe: (linear: bigint, size: number, access: MemoryAccess) => this.guest.probe(linear, size, access),
      halt: () => this.state.set32(slot("activity"), 1),
      modeChanged: () => this.guest.modeChanged(),
    };
    // What else an instruction may ask for does not exist here: #UD.
    const environment = new Proxy(offered, {
      get: (target, name) =>
        Reflect.get(target, name) ??
        (() => {
          throw new GuestException(6);
        }),
    }) as unknown as ExecutionEnvironment;
    const feature = (): boolean => true;
    const onMissing = (syntax: string): void => void this.missing.push(syntax);
    this.stepper = new Stepper(this.state, this.guest, environment, this, feature, onMissing);
    this.interpreter = new Interpreter({
      memory: this.memory,
      processor: 0,
      state: this.state,
      guest: this.guest,
      environment,
      events: this,
      stepper: this.stepper,
      feature,
      onMissing,
    });
  }

  /** As after construction, but for translated code. */
  reset(): void {
    this.memory.ram.view(0, DIRTY_BYTES).fill(0);
    this.memory.ram.written(0, DIRTY_BYTES);
    this.state.words.fill(0);
    this.faults.length = 0;
    this.trapCount = 0;
    this.retiredCount = 0;
    this.guest.tlb.flush();
    this.#setUpMode();
  }

  #setUpMode(): void {
    const { state, bitness } = this;
    const { ram } = this.memory;
    const set = (name: SlotName, value: bigint): void => state.set64(slot(name), value);
    state.rflags = 2n;
    state.set32(slot("mxcsr"), 0x1f80);
    const [code, data] = bitness === 64 ? [CODE64, DATA32] : bitness === 32 ? [CODE32, DATA32] : [CODE16, DATA16];
    const limit = bitness === 16 ? 0xffff : 0xffff_ffff;
    state.setSegment("cs", { selector: 8, base: 0n, limit, rights: code });
    for (const name of ["ds", "es", "ss", "fs", "gs"] as const) {
      state.setSegment(name, { selector: 16, base: 0n, limit, rights: data });
    }
    set("cr0", bitness === 64 ? 0x8000_0031n : bitness === 32 ? 0x31n : 0x30n);
    set("cr4", CR4_SSE);
    if (bitness === 64) {
      set("cr3", BigInt(PML4));
      set("cr4", CR4_SSE | 0x20n);
      set("efer", 0xd00n);
      ram.writeU64(PML4, BigInt(PML4 + 0x1000) | 3n);
      ram.writeU64(PML4 + 0x1000, BigInt(PML4 + 0x2000) | 3n);
      for (let i = 0; i < 3; i++) ram.writeU64(PML4 + 0x2000 + i * 8, BigInt(i << 21) | 0x83n);
    }
    this.state.setGpr(4, BigInt(bitness === 16 ? 0xff00 : STACK));
    this.guest.modeChanged();
  }

  /** Assemble and load at {@link CODE}; RIP is there then. */
  load(write: (a: Assembler) => void, at = CODE): ReadonlyMap<string, bigint> {
    const a = new Assembler(this.bitness);
    write(a);
    const { bytes, symbols } = a.assemble(BigInt(at));
    this.memory.ram.view(at, bytes.length).set(bytes);
    this.memory.ram.written(at, bytes.length);
    this.rip = at;
    return symbols;
  }

  get rip(): number {
    return Number(this.state.get64(slot("rip")));
  }

  set rip(value: number) {
    this.state.set64(slot("rip"), BigInt(value));
  }

  /** Run until HLT, a fault, or so many instructions. */
  run(how: "interpreter" | "stepper", instructions = 1_000_000_000): void {
    this.limit = this.retiredCount + instructions;
    this.state.set32(slot("activity"), 0);
    while (this.state.get32(slot("activity")) === 0 && (this.onFault !== undefined || this.faults.length === 0)) {
      const budget = this.limit - this.retiredCount;
      if (budget <= 0) return;
      if (how === "stepper" || this.stepper.needed) this.stepper.step();
      else this.interpreter.run(budget);
    }
  }

  // --- GuestEvents

  budget(): number {
    return this.limit - this.retiredCount;
  }

  retired(instructions: number): void {
    this.retiredCount += instructions;
  }

  boundary(): void {
    this.attention = false;
  }

  idle(): void {
    throw new Error("the rig stops at HLT");
  }

  exception(fault: GuestException): void {
    this.faults.push(fault);
    this.onFault?.(fault);
  }

  debugTrap(_conditions: bigint): void {
    this.trapCount++;
    this.state.set32(slot("flagsRest"), this.state.get32(slot("flagsRest")) & ~TF);
  }
}
