import { Engine } from "../../../packages/x86-cpu/src/engine/engine.js";
import { Interpreter } from "../../../packages/x86-cpu/src/engine/interpreter.js";
import { Stepper } from "../../../packages/x86-cpu/src/engine/stepper.js";
import { HostMemory, PROCESSOR_AREA } from "../../../packages/x86-cpu/src/memory/host-memory.js";
import { GuestMemory } from "../../../packages/x86-cpu/src/paging/guest-memory.js";
import { IDENTITY, Pager, Tlb } from "../../../packages/x86-cpu/src/paging/index.js";
import { HostInterrupts } from "../../../packages/x86-cpu/src/processor/host-interrupts.js";
import { MsrFile } from "../../../packages/x86-cpu/src/processor/msrs.js";
import { CpuidLeaves } from "../../../packages/x86-cpu/src/profiles/cpuid.js";
import { decoderFeatures } from "../../../packages/x86-cpu/src/profiles/decoder-features.js";
import { SKYLAKE_SERVER } from "../../../packages/x86-cpu/src/profiles/index.js";
import { VirtualClock } from "../../../packages/x86-cpu/src/time/clock.js";
import { EarlyExits } from "../../../packages/x86-cpu/src/vmx/early-exits.js";
import { F } from "../../../packages/x86-cpu/src/vmx/fields.js";
import { NonRootEnvironment } from "../../../packages/x86-cpu/src/vmx/non-root-environment.js";
import { NonRoot } from "../../../packages/x86-cpu/src/vmx/non-root.js";
import { VmxEvents } from "../../../packages/x86-cpu/src/vmx/vmx-events.js";
import {
  CPU_BASED,
  CpuState,
  PIN_BASED,
  SECONDARY_EXEC,
  STATE_BYTES,
  STATE_LAYOUT,
  slot,
  type ControlRegisterModel,
  type GuestException,
} from "../../../packages/x86-isa/src/index.js";

export const RAM_BYTES = 1 << 20;

/** Executors of the same guest: the interpreter with its translated blocks, or the evaluator alone. */
export type EngineName = "interpreter" | "evaluator";

/** Exit information that is compared, by its field. */
const EXIT_FIELDS = [
  F.VM_EXIT_REASON,
  F.EXIT_QUALIFICATION,
  F.EXIT_QUALIFICATION + 1,
  F.VM_EXIT_INTR_INFO,
  F.IDT_VECTORING_INFO_FIELD,
  F.VM_EXIT_INSTRUCTION_LEN,
];

/** Scratch, lazy flags (their value is compared), and what an engine keeps for itself. */
const NOT_COMPARED = /^(t\d+|v\d+|flagResult|flagAux|fuel|currentRip|nextRip|fault\..*|.*\.reserved)$/;
const COMPARED = [...STATE_LAYOUT.values()].filter(({ name }) => !NOT_COMPARED.test(name));

/** VT-x events that keep a list of the faults which they were told. */
class RecordingEvents extends VmxEvents {
  readonly faults: string[] = [];

  override exception(fault: GuestException): void {
    this.faults.push(`${fault.vector}/${fault.errorCode ?? "-"}/${fault.cr2?.toString(16) ?? "-"}`);
    super.exception(fault);
  }
}

/** A processor with paging, exceptions and system instructions, in non-root operation with next to nothing intercepted. */
export class EngineRig {
  readonly memory = new HostMemory(RAM_BYTES, 1);
  readonly ram = this.memory.ram.view(0, RAM_BYTES);
  readonly state: CpuState;
  readonly #clock = new VirtualClock();
  readonly #interrupts = new HostInterrupts(this.#clock, () => undefined);
  readonly #nonRoot: NonRoot;
  readonly #events: RecordingEvents;
  readonly #guest: GuestMemory;
  readonly #engine: Engine;

  constructor(readonly name: EngineName) {
    const { memory } = this;
    const { ram } = memory;
    const { buffer } = memory.memory;
    const area = memory.areaOf(0);
    const state = (this.state = new CpuState(buffer, area + PROCESSOR_AREA.state));
    const profile = SKYLAKE_SERVER;
    const { physicalAddressBits } = profile;
    const cpuid = new CpuidLeaves(profile, 0, 1);
    const nonRoot = (this.#nonRoot = new NonRoot(state, ram));
    nonRoot.pin = PIN_BASED.EXT_INTR_EXITING;
    nonRoot.primary = CPU_BASED.HLT_EXITING;
    nonRoot.secondary = SECONDARY_EXEC.UNRESTRICTED_GUEST | SECONDARY_EXEC.RDTSCP | SECONDARY_EXEC.ENABLE_INVPCID;
    const tlb = new Tlb(buffer, area + PROCESSOR_AREA.tlb, ram.base);
    const pager = new Pager(state, ram, { physicalAddressBits, page1Gb: cpuid.has("PAGE1GB") }, IDENTITY);
    const guest = (this.#guest = new GuestMemory(state, ram, pager, tlb));
    const controls: ControlRegisterModel = {
      cr4Allowed: cpuid.cr4Supported,
      eferAllowed: cpuid.eferSupported,
      xcr0Allowed: cpuid.xcr0Supported,
      physicalAddressBits,
      readPdpte: (at) => (ram.contains(at, 8) ? ram.readU64(at) : 0xffff_ffff_ffff_ffffn),
    };
    const msrs = new MsrFile(
      { profile, cpuid, capabilities: undefined, clock: this.#clock, bootProcessor: true, controls },
      state,
    );
    const events = (this.#events = new RecordingEvents(state, nonRoot, this.#clock, this.#interrupts));
    const environment = new NonRootEnvironment({
      state,
      memory: guest,
      nonRoot,
      msrs,
      clock: this.#clock,
      controls: () => controls,
      softwareInterrupt: (event) => events.softwareInterrupt(event),
      attend: () => events.attend(),
    });
    events.attach(environment);
    const feature = decoderFeatures(profile.features);
    const stepper = new Stepper(state, guest, environment, events, feature);
    const early = new EarlyExits(state, nonRoot);
    const parts = { memory, processor: 0, state, guest, environment, events, stepper, feature };
    const fast =
      name === "evaluator" ? undefined : new Interpreter({ ...parts, exits: (instruction) => early.take(instruction) });
    this.#engine = new Engine(state, events, stepper, fast);
  }

  /** Instructions that have retired since the rig exists. */
  get retired(): number {
    return this.#events.total;
  }

  /** A guest's memory in place of what there was. */
  fill(image: Uint8Array): void {
    this.ram.set(image);
    this.memory.ram.written(0, RAM_BYTES);
    this.#guest.tlb.flush();
  }

  /** Registers in place of those that there were, of a program that is about to run. */
  start(write: (state: CpuState) => void): void {
    new Uint8Array(this.state.buffer, this.state.base, STATE_BYTES).fill(0);
    write(this.state);
    this.#guest.modeChanged();
  }

  /**
   * Run until an exit, or for so many instructions and deliveries of events.
   *
   * @returns what is compared besides the state
   */
  run(instructions: number): string {
    const { words } = this.#nonRoot;
    words.fill(0);
    this.#nonRoot.delivering = 0;
    this.#nonRoot.nmiUnblocked = false;
    this.#events.faults.length = 0;
    this.#interrupts.setTimer(this.#clock.cycles() + instructions);
    this.#events.begin(0);
    this.#engine.run();
    this.#interrupts.setTimer(undefined);
    this.#interrupts.acknowledge();
    const exit = EXIT_FIELDS.map((field) => (words[field] ?? 0).toString(16)).join(" ");
    return `exit ${exit}; time ${this.#clock.cycles()}; retired ${this.retired}; faults ${this.#events.faults.join(" ")}`;
  }

  /** Fields in which two rigs differ, as text. */
  differences(other: EngineRig): string[] {
    const found: string[] = [];
    for (const { name, offset, bytes } of COMPARED) {
      const hex = (rig: EngineRig): string => {
        const field = new Uint8Array(rig.state.buffer, rig.state.base + offset, bytes);
        return Buffer.from(field).reverse().toString("hex");
      };
      const [own, its] = [hex(this), hex(other)];
      if (own !== its) found.push(`${name} ${own} instead of ${its}`);
    }
    const flags = [this, other].map(({ state }) => state.rflags.toString(16));
    if (flags[0] !== flags[1]) found.push(`rflags ${flags[0]} instead of ${flags[1]}`);
    return found;
  }

  /** The same as {@link differences} being empty, quickly. */
  sameState(other: EngineRig): boolean {
    const [own, its] = [this, other].map(({ state }) => new Uint32Array(state.buffer, state.base, STATE_BYTES >> 2));
    if (own === undefined || its === undefined) return false;
    for (const n of COMPARED_WORDS) if (own[n] !== its[n]) return false;
    return this.state.eflags === other.state.eflags;
  }

  /** Bytes of memory in which two rigs differ, as text. */
  memoryDifferences(other: EngineRig): string[] {
    if (Buffer.compare(this.ram, other.ram) === 0) return [];
    const found: string[] = [];
    for (let at = 0; at < RAM_BYTES && found.length < 16; at++) {
      const [own, its] = [this.ram[at], other.ram[at]];
      if (own !== its) found.push(`memory ${at.toString(16)}: ${own?.toString(16)} instead of ${its?.toString(16)}`);
    }
    return found;
  }
}

const COMPARED_WORDS = [
  ...new Set(
    COMPARED.flatMap(({ offset, bytes }) => Array.from({ length: Math.ceil(bytes / 4) }, (_, n) => (offset >> 2) + n)),
  ),
];

export const SLOT_RIP = slot("rip");
