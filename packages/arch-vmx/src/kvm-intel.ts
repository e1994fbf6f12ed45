import type { Host, KvmExports, OpCaller } from "@tapvisor/kvm-core/contract";
import { PerCpu } from "./vmcs/per-cpu.js";
import type { VmcsConfig } from "./vmcs/config.js";
import { MsrBitmaps } from "./vmcs/msr-bitmap.js";
import { VpidAllocator } from "./vmcs/vpid.js";
import type { VmxProcessor } from "./processor.js";

/** The optional features in use: a module parameter, cleared where the processor lacks what it needs. */
export interface EnabledFeatures {
  vpid: boolean;
  ept: boolean;
  unrestrictedGuest: boolean;
  eptAccessedDirty: boolean;
  flexpriority: boolean;
  apicv: boolean;
  pml: boolean;
  preemptionTimer: boolean;
  /** Cycles; 0 turns pause-loop exiting off. */
  pleGap: number;
}

/** Pages that `hardware_setup` allocates and every VMCS points to; host physical addresses. */
export interface SharedPages {
  /** Every port of the lower half exits; the other lets the debug port through. */
  readonly ioBitmapA: number;
  readonly debugPortBitmapA: number;
  readonly ioBitmapB: number;
  readonly msrBitmaps: MsrBitmaps;
}

/**
 * What is global in the kvm_intel module: one per core. It exists from the registration of the backend;
 * `hardware_setup` fills it, `hardware_unsetup` empties it.
 */
export class KvmIntel {
  readonly features: EnabledFeatures;
  readonly perCpu: readonly PerCpu[];
  readonly vpids = new VpidAllocator();
  /** TSC cycles per tick of the preemption timer, as a shift (IA32_VMX_MISC 4:0). */
  preemptionTimerShift = 0;
  hostEfer = 0n;
  hostXss = 0n;
  /** Host CR4.PKE: PKRU is switched by hand around a guest. */
  hostHasOspke = false;
  hostHasMpx = false;
  /** CR4.VME if the processor has virtual-8086 extensions, for real mode without unrestricted guest; else 0. */
  vm86Extensions = 0n;

  #config: VmcsConfig | undefined;
  #pages: SharedPages | undefined;

  constructor(
    readonly host: Host<VmxProcessor>,
    /** What the generic layer exports. */
    readonly kvm: KvmExports,
    /** The call table: the backend calls its own ops through it too, so that interceptors see every call. */
    readonly ops: OpCaller,
  ) {
    const { options } = host;
    this.features = {
      vpid: options.vpid,
      ept: options.ept,
      unrestrictedGuest: options.unrestrictedGuest,
      eptAccessedDirty: options.eptAccessedDirty,
      flexpriority: true,
      apicv: true,
      pml: true,
      preemptionTimer: options.preemptionTimer,
      pleGap: options.pleGap,
    };
    this.perCpu = host.processors.map(() => new PerCpu());
  }

  /** The capabilities that `hardware_setup` settled on. */
  get config(): VmcsConfig {
    if (this.#config === undefined) throw new Error("arch-vmx: used before hardware_setup");
    return this.#config;
  }

  get pages(): SharedPages {
    if (this.#pages === undefined) throw new Error("arch-vmx: used before hardware_setup");
    return this.#pages;
  }

  setUp(config: VmcsConfig, pages: SharedPages): void {
    this.#config = config;
    this.#pages = pages;
  }

  tearDown(): void {
    this.#config = undefined;
    this.#pages = undefined;
  }

  /** The processor that the calling code runs on. */
  thisCpu(): VmxProcessor {
    return this.processor(this.host.scheduler.current().id);
  }

  processor(id: number): VmxProcessor {
    const processor = this.host.processors[id];
    if (processor === undefined) throw new RangeError(`no processor ${id}`);
    return processor;
  }

  cpu(id: number): PerCpu {
    const state = this.perCpu[id];
    if (state === undefined) throw new RangeError(`no processor ${id}`);
    return state;
  }
}
