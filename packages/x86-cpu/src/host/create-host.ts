import { CR0, CpuState, slot, type ControlRegisterModel } from "@tapvisor/x86-isa";
import { Engine } from "../engine/engine.js";
import { Interpreter } from "../engine/interpreter.js";
import { Stepper } from "../engine/stepper.js";
import { HostMemory, PROCESSOR_AREA } from "../memory/host-memory.js";
import type { Ram } from "../memory/ram.js";
import { GuestMemory } from "../paging/guest-memory.js";
import { IDENTITY, Pager, Tlb } from "../paging/index.js";
import { HostInterrupts } from "../processor/host-interrupts.js";
import { MsrFile } from "../processor/msrs.js";
import { Processor } from "../processor/processor.js";
import { CpuidLeaves } from "../profiles/cpuid.js";
import { decoderFeatures } from "../profiles/decoder-features.js";
import type { ProcessorProfile } from "../profiles/profile.js";
import { VirtualClock } from "../time/clock.js";
import { VirtualTimers } from "../time/timers.js";
import { VmxCapabilities } from "../vmx/capabilities.js";
import { EarlyExits } from "../vmx/early-exits.js";
import { EptWalker } from "../vmx/ept.js";
import { MsrLists } from "../vmx/msr-lists.js";
import { NonRootEnvironment } from "../vmx/non-root-environment.js";
import { NonRoot } from "../vmx/non-root.js";
import { VmxOperation } from "../vmx/operation.js";
import { stateCopies } from "../vmx/state-copy.js";
import { SWITCHED } from "../vmx/state-transfer.js";
import { VmxEvents } from "../vmx/vmx-events.js";
import { WorldSwitch } from "../vmx/world-switch.js";
import { SerialScheduler } from "./scheduler.js";

export interface HostSpec {
  readonly profile: ProcessorProfile;
  /** Bytes of RAM, a multiple of 64 KiB. */
  readonly ramBytes: number;
  /** Count of logical processors; 1 unless given. */
  readonly processors?: number;
  /** Cycles that a task may run before another gets its turn; 10 ms unless given. */
  readonly quantumCycles?: number;
  /** Told the syntax of each guest instruction that raises #UD because the processor does not have it. */
  readonly onMissingInstruction?: (syntax: string) => void;
}

/** Everything that a hypervisor stands on: memory, processors, virtual time, and the order in which tasks run. */
export interface SoftwareHost {
  readonly memory: Ram;
  readonly processors: readonly Processor[];
  readonly clock: VirtualClock;
  readonly timers: VirtualTimers;
  readonly scheduler: SerialScheduler<Processor>;
}

const DEFAULT_QUANTUM = 10_000_000;
const EFER = slot("efer");

/** A host whose processors are software. Nothing of it depends on the computer that it runs on. */
export function createHost(spec: HostSpec): SoftwareHost {
  const { profile, ramBytes, processors: count = 1, quantumCycles = DEFAULT_QUANTUM } = spec;
  const memory = new HostMemory(ramBytes, count);
  const clock = new VirtualClock();
  const timers = new VirtualTimers(clock);
  const nextTimer = (): number | undefined => {
    const ns = timers.next();
    return ns === undefined ? undefined : clock.toCycles(ns);
  };
  const processors = Array.from({ length: count }, (_, id) =>
    createProcessor({ id, count, profile, memory, clock, nextTimer, onMissing: spec.onMissingInstruction }),
  );
  return {
    memory: memory.ram,
    processors,
    clock,
    timers,
    scheduler: new SerialScheduler(processors, quantumCycles),
  };
}

interface ProcessorSpec {
  readonly id: number;
  readonly count: number;
  readonly profile: ProcessorProfile;
  readonly memory: HostMemory;
  readonly clock: VirtualClock;
  readonly nextTimer: () => number | undefined;
  readonly onMissing: ((syntax: string) => void) | undefined;
}

function createProcessor({ id, count, profile, memory, clock, nextTimer, onMissing }: ProcessorSpec): Processor {
  const { ram } = memory;
  const { buffer } = memory.memory;
  const area = memory.areaOf(id);
  const state = new CpuState(buffer, area + PROCESSOR_AREA.state);
  const root = new CpuState(buffer, area + PROCESSOR_AREA.root);
  const cpuid = new CpuidLeaves(profile, id, count);
  const capabilities = profile.vmx === undefined ? undefined : new VmxCapabilities(profile.vmx, cpuid.cr4Supported);
  const interrupts = new HostInterrupts(clock, nextTimer);
  const nonRoot = new NonRoot(state, ram);
  const tlb = new Tlb(buffer, area + PROCESSOR_AREA.tlb, ram.base);
  const { physicalAddressBits, linearAddressBits } = profile;
  const pager = new Pager(state, ram, { physicalAddressBits, page1Gb: cpuid.has("PAGE1GB") }, IDENTITY);
  const guestMemory = new GuestMemory(state, ram, pager, tlb);

  const ept =
    capabilities === undefined
      ? undefined
      : new EptWalker(ram, nonRoot, { physicalAddressBits, eptVpidHas: (field) => capabilities.eptVpidHas(field) });
  const readPdpte = (gpa: number): bigint => {
    const host = nonRoot.ept && ept !== undefined ? ept.translatePdpte(gpa) : gpa;
    return ram.contains(host, 8) ? ram.readU64(host) : 0xffff_ffff_ffff_ffffn;
  };
  const controls: ControlRegisterModel = {
    cr4Allowed: cpuid.cr4Supported,
    eferAllowed: cpuid.eferSupported,
    xcr0Allowed: cpuid.xcr0Supported,
    physicalAddressBits,
    readPdpte,
  };
  const msrs = new MsrFile({ profile, cpuid, capabilities, clock, bootProcessor: id === 0, controls }, state);
  const parts = { id, profile, state, root, cpuid, controls, msrs, interrupts, tlb };
  if (capabilities === undefined || ept === undefined) return new Processor(parts);

  const { cr0Fixed0, cr0Fixed1, cr4Fixed0, cr4Fixed1 } = capabilities;
  const restricted = { ...controls, cr0Fixed0, cr0Fixed1, cr4Fixed0, cr4Fixed1 };
  const unrestricted = { ...restricted, cr0Fixed0: cr0Fixed0 & ~(CR0.PE | CR0.PG) };
  const events = new VmxEvents(state, nonRoot, clock, interrupts);
  const environment = new NonRootEnvironment({
    state,
    memory: guestMemory,
    nonRoot,
    msrs,
    clock,
    controls: (free) => (free ? unrestricted : restricted),
    softwareInterrupt: (event) => events.softwareInterrupt(event),
    attend: () => events.attend(),
  });
  events.attach(environment);
  const feature = decoderFeatures(profile.features);
  const stepper = new Stepper(state, guestMemory, environment, events, feature, onMissing);
  const early = new EarlyExits(state, nonRoot);
  const interpreter = new Interpreter({
    memory,
    processor: id,
    state,
    guest: guestMemory,
    environment,
    events,
    stepper,
    feature,
    onMissing,
    exits: (instruction) => early.take(instruction),
  });
  const engine = new Engine(state, events, stepper, interpreter);
  const worldSwitch = new WorldSwitch({
    environment: {
      capabilities,
      physicalAddressBits,
      linearAddressBits,
      eferSupported: Number(cpuid.eferSupported),
      rootEfer: () => Number(root.get64(EFER)),
      // Where there is no RAM all bits read as 1.
      revisionAt: (address) => (ram.contains(address, 4) ? ram.readU32(address) : 0xffff_ffff),
    },
    state,
    root,
    copies: stateCopies(memory.memory, state, root, SWITCHED),
    ram,
    memory: guestMemory,
    nonRoot,
    events,
    ept,
    lists: new MsrLists(ram, msrs),
    runUntilExit: () => engine.run(),
    charge: (cycles) => clock.charge(cycles),
  });
  const operation = new VmxOperation(ram, capabilities, physicalAddressBits);
  return new Processor({ ...parts, vmx: { capabilities, operation, worldSwitch, ept, retired: () => events.total } });
}
