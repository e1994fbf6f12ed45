import type { DeviceEnvironment, DeviceStop, Vcpu, VcpuExit, Vm } from "../contract/index.js";
import type { KvmCore } from "../core.js";
import { eventLoopTurn } from "./event-loop.js";
import { accessMemory, accessPort } from "./device-exits.js";
import type { DriverStop } from "./stop.js";

export interface DriverParts {
  readonly core: KvmCore;
  readonly vm: Vm;
  /** Guest instructions that all processors of the host have retired so far. */
  readonly retired: () => number;
  /** What is done to the parts when the machine sleeps and wakes; without it, it turns off instead. */
  readonly sleep?: SleepActions;
}

/** Sleep state S3: everything but memory, and what may wake the machine, loses its power. */
export interface SleepActions {
  enter(): void;
  wake(): void;
}

export interface DriverOptions {
  /** Stop with `budget` after so many guest instructions, to the instruction. */
  readonly maxInstructions?: number;
  /** Stop with `aborted`; looked at between slices. */
  readonly signal?: AbortSignalLike;
  /**
   * Asked when every vCPU is idle and no timer is armed: true once outside input may have woken one, false when there
   * will be none. Without it the machine stops with `halt`.
   */
  readonly waitForInput?: () => Promise<boolean>;
}

/** What of an AbortSignal is needed. */
export interface AbortSignalLike {
  readonly aborted: boolean;
}

/** Outside input, and the virtual time at which it entered: what repeating a run needs. */
export interface InputRecord {
  /** Cycles of the host's clock. */
  readonly cycles: number;
  readonly bytes: readonly number[];
}

/** Cycles between two rounds of the event loop: input waits no longer than that, some milliseconds. */
const SLICE_CYCLES = 2_000_000;
/** Cycles of one vCPU's turn where there are others: what spins until another has done something spins no longer. */
const TURN_CYCLES = 20_000;
/** Timers in a row that wake nobody: past it, the guest is halted for good, however many are still to come. */
const MAX_IDLE_TIMERS = 1000;

type Progress = "runnable" | "idle" | DriverStop;

/**
 * The driver above `vcpu.run()`: runs the vCPUs of a VM in turn, hands their exits to the devices, lets virtual time
 * jump to the next timer when all are idle, and yields to the event loop between slices.
 *
 * Slices are cut by virtual time and the order of vCPUs is fixed, so a run is a pure function of its inputs. Outside
 * input enters between slices, and is recorded.
 */
export class VcpuDriver {
  readonly core: KvmCore;
  readonly vm: Vm;
  /** What the devices get. */
  readonly environment: DeviceEnvironment;
  readonly #retired: () => number;
  readonly #inputs: InputRecord[] = [];
  #receivers: ((bytes: readonly number[]) => void)[] = [];
  #arrived: (readonly number[])[] = [];
  readonly #sleep: SleepActions | undefined;
  #requested: DeviceStop | undefined;
  #woken = false;
  #running = false;

  constructor({ core, vm, retired, sleep }: DriverParts) {
    this.core = core;
    this.vm = vm;
    this.#retired = retired;
    this.#sleep = sleep;
    this.environment = {
      clock: core.host.clock,
      timers: core.host.timers,
      requestStop: (stop) => void (this.#requested ??= stop),
      requestWake: () => void (this.#woken = true),
    };
  }

  /** Guest instructions retired since the host started. */
  get instructions(): number {
    return this.#retired();
  }

  /** All outside input so far, in order. */
  get inputs(): readonly InputRecord[] {
    return this.#inputs;
  }

  /** Where outside input goes: the receiver of a serial port. */
  onInput(receiver: (bytes: readonly number[]) => void): void {
    this.#receivers.push(receiver);
  }

  /** Input from outside. It enters between two slices of a run, and is recorded with its time. */
  input(bytes: Iterable<number>): void {
    this.#arrived.push([...bytes]);
  }

  /** Run until something stops the machine. What stopped it may be taken up again by another `run`. */
  async run(options: DriverOptions = {}): Promise<DriverStop> {
    if (this.#running) throw new Error("run(): it runs already");
    this.#running = true;
    try {
      const end = this.#retired() + (options.maxInstructions ?? Number.POSITIVE_INFINITY);
      for (;;) {
        if (options.signal?.aborted === true) return { stop: "aborted" };
        this.#takeInput();
        const progress = this.#slice(end);
        if (typeof progress === "object") return progress;
        if (progress === "idle" && this.#arrived.length === 0) {
          if (options.waitForInput === undefined || !(await options.waitForInput())) return { stop: "halt" };
        }
        await eventLoopTurn();
      }
    } finally {
      this.#running = false;
    }
  }

  /** Run all vCPUs for one slice of virtual time. `idle`: none can run, and no timer will change that. */
  #slice(end: number): Progress {
    const { clock, timers, scheduler } = this.core.host;
    const until = clock.cycles() + SLICE_CYCLES;
    let idleTimers = 0;
    while (clock.cycles() < until) {
      timers.runDue();
      const before = this.#retired();
      if (before >= end) return { stop: "budget" };
      let idle = true;
      for (const vcpu of this.vm.vcpus) {
        const quantum = Math.min(scheduler.quantumCycles, this.vm.vcpus.length > 1 ? TURN_CYCLES : SLICE_CYCLES);
        const progress = this.#runVcpu(vcpu, quantum, end);
        if (typeof progress === "object") return progress;
        if (progress === "runnable") idle = false;
      }
      if (!idle) {
        idleTimers = 0;
        continue;
      }
      if (this.#retired() !== before) idleTimers = 0;
      const next = timers.next();
      if (next === undefined || idleTimers++ > MAX_IDLE_TIMERS) return "idle";
      clock.advanceTo(next);
    }
    return "runnable";
  }

  /** Run one vCPU until its quantum is used up or it has nothing to do. */
  #runVcpu(vcpu: Vcpu, quantum: number, end: number): Progress {
    const { clock, timers, scheduler, processors } = this.core.host;
    const until = clock.cycles() + quantum;
    for (;;) {
      // A cycle is at least one instruction, so a budget in cycles never outruns one in instructions.
      const left = Math.min(until - clock.cycles(), end - this.#retired());
      if (left <= 0) return "runnable";
      const exit = scheduler.runOn(vcpu.id % processors.length, () => vcpu.run({ maxCycles: left }));
      timers.runDue();
      const progress = this.#handleExit(vcpu, exit);
      if (progress !== "continue") return progress;
    }
  }

  #handleExit(vcpu: Vcpu, exit: VcpuExit): Progress | "continue" {
    switch (exit.reason) {
      case "io":
        accessPort(this.vm, exit.io);
        return this.#requestedStop();
      case "mmio":
        accessMemory(this.vm, exit.mmio);
        return this.#requestedStop();
      case "budget":
      case "intr":
        return "runnable";
      case "idle":
      case "hlt":
        return "idle";
      case "shutdown":
        return { stop: "shutdown" };
      case "system_event":
        return { stop: exit.type === "reset" ? "reset" : "shutdown" };
      case "debug":
        return { stop: "debug", vcpu: vcpu.id, exception: exit.exception, pc: exit.pc };
      case "internal_error":
        return { stop: "internal-error", vcpu: vcpu.id, suberror: exit.suberror };
      case "exception":
        return { stop: "internal-error", vcpu: vcpu.id, suberror: "exception" };
      case "unknown":
        return { stop: "internal-error", vcpu: vcpu.id, suberror: "unknown_exit" };
      case "fail_entry":
        return {
          stop: "fail-entry",
          vcpu: vcpu.id,
          hardwareEntryFailureReason: exit.hardwareEntryFailureReason,
          dump: exit.dump,
        };
      // Notifications: nothing to do for a machine whose interrupt controllers are in the core.
      case "hypercall":
      case "irq_window_open":
      case "set_tpr":
      case "tpr_access":
      case "ioapic_eoi":
        return "continue";
    }
  }

  #requestedStop(): Progress | "continue" {
    const requested = this.#requested;
    this.#requested = undefined;
    if (requested === undefined) return "continue";
    if (requested.kind === "suspend") return this.#suspend();
    return requested.kind === "debug-exit" ? { stop: "debug-exit", value: requested.value } : { stop: requested.kind };
  }

  /** Sleep until a device wakes the machine; `halt` when nothing is left that could. */
  #suspend(): Progress {
    if (this.#sleep === undefined) return { stop: "shutdown" };
    const { clock, timers } = this.core.host;
    this.#sleep.enter();
    this.#woken = false;
    while (!this.#woken) {
      const next = timers.next();
      if (next === undefined) return { stop: "halt" };
      clock.advanceTo(next);
      timers.runDue();
    }
    this.#sleep.wake();
    return "runnable";
  }

  #takeInput(): void {
    const arrived = this.#arrived;
    this.#arrived = [];
    for (const bytes of arrived) {
      this.#inputs.push({ cycles: this.core.host.clock.cycles(), bytes });
      for (const receive of this.#receivers) receive(bytes);
    }
  }
}
