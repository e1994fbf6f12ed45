import { type CpuidFeature, CPUID, EFER } from "@tapvisor/x86-isa";
import {
  type ArchBackend, type CpuidEntry, type CpuidResult, type Host, HOST_TIMER_VECTOR, InterceptorError, KvmError, type KvmExports,
  type LifecycleEvents, type LifecycleName, type OpCaller, type TimerHandle,
} from "./contract/index.js"; // prettier-ignore
import { supportedCpuid } from "./cpuid/supported.js";
import type { KvmCore } from "./core.js";
import { createExports } from "./exports.js";
import { type GenericLayer, kvmExit } from "./init.js";
import { USER_SLOTS } from "./memory/slots.js";
import { SpteFormat } from "./mmu/masks.js";
import { MCE_BANKS } from "./msr/machine-check.js";
import { msrIndexList } from "./msr/list.js";
import { SharedMsrs } from "./msr/shared.js";
import { KvmVm } from "./vm.js";

/** Bits of IA32_EFER that guests may set from the start; a backend adds NX, SVME, FFXSR. */
const EFER_ALLOWED = EFER.SCE | EFER.LME | EFER.LMA;
const ALL_BITS = (1n << 64n) - 1n;

/** Answers of KVM_CHECK_EXTENSION that depend on nothing. */
const EXTENSIONS: Readonly<Record<string, number>> = {
  IRQCHIP: 1, PIT2: 1, HLT: 1, USER_MEMORY: 1, SET_TSS_ADDR: 1, EXT_CPUID: 1, NOP_IO_DELAY: 1, MP_STATE: 1, DESTROY_MEMORY_REGION_WORKS: 1,
  USER_NMI: 1, SET_GUEST_DEBUG: 1, SET_IDENTITY_MAP_ADDR: 1, VCPU_EVENTS: 1, DEBUGREGS: 1, READONLY_MEM: 1,
  TSC_DEADLINE_TIMER: 1, SET_BOOT_CPU_ID: 1, GET_TSC_KHZ: 1, NR_VCPUS: 160, MAX_VCPUS: 288, MAX_VCPU_ID: 1023,
  NR_MEMSLOTS: USER_SLOTS, MCE: MCE_BANKS,
}; // prettier-ignore

/** Fires the lifecycle hooks of a core. */
export type CoreEvents = { readonly [N in LifecycleName]: (event: LifecycleEvents[N]) => void };

/**
 * The generic layer over one core. What Linux keeps in the variables of kvm_main.c and x86.c is here, so that several
 * cores can live side by side.
 */
export class Kvm {
  readonly host: Host;
  readonly ops: OpCaller;
  readonly hooks: CoreEvents;
  readonly spte = new SpteFormat();
  /** The processor's second-stage translation has large pages. */
  largePagesEnabled = true;
  readonly sharedMsrs: SharedMsrs;
  tdpEnabled = false;
  tdpLevel = 4;
  eferReservedBits = ALL_BITS & ~EFER_ALLOWED;
  hostXcr0 = 1n;
  #msrList: readonly number[] = [];
  readonly #vms = new Set<KvmVm>();
  #nextVmId = 0;
  /** Processors on which `hardware_enable` has succeeded. */
  readonly #enabled = new Set<number>();
  /** What the timer of each processor is set to, to set it only when that changes. */
  readonly #armed: (number | undefined)[] = [];

  readonly #exports: KvmExports;

  /** @param core the host, the call table and the hooks; `kvmInit` gives it a backend */
  constructor(readonly core: KvmCore) {
    this.host = core.host;
    this.ops = core.ops;
    this.hooks = coreEvents(core);
    this.sharedMsrs = new SharedMsrs(this);
    this.#exports = createExports(this);
  }

  get backend(): ArchBackend | undefined {
    return this.core.backend;
  }

  get vms(): readonly KvmVm[] {
    return [...this.#vms];
  }

  // --- registration

  /** kvm_arch_init, _exit and _hardware_setup: what `kvmInit` asks of this layer. */
  get layer(): GenericLayer {
    return {
      exports: this.#exports,
      archInit: () => {
        if (this.hostHas(CPUID.XSAVE)) this.hostXcr0 = this.host.scheduler.current().readXcr0();
      },
      archExit: () => {
        this.tdpEnabled = false;
        this.eferReservedBits = ALL_BITS & ~EFER_ALLOWED;
      },
      hardwareSetup: () => {
        this.#msrList = msrIndexList(this);
        if (this.tdpEnabled) this.tdpLevel = this.ops.get_tdp_level();
      },
    };
  }

  /** kvm_exit: the backend goes. EBUSY while a VM exists. */
  exit(): void {
    if (this.#vms.size > 0) throw new KvmError("EBUSY", "kvm_exit", `${this.#vms.size} VMs exist`);
    kvmExit(this.core, this.layer);
  }

  // --- VMs

  /** KVM_CREATE_VM. The first one turns virtualization on, on every processor. */
  createVm(): KvmVm {
    if (!this.backend) throw new KvmError("ENODEV", "KVM_CREATE_VM", "no backend is registered");
    const vm = new KvmVm(this, this.#nextVmId++);
    this.ops.vm_init(vm);
    try {
      if (this.#vms.size === 0) this.#enableAll();
    } catch (error) {
      this.ops.vm_destroy?.(vm);
      throw error;
    }
    this.#vms.add(vm);
    this.hooks.vmCreated({ vm });
    return vm;
  }

  /** @internal The last VM turns virtualization off. */
  vmGone(vm: KvmVm): void {
    this.#vms.delete(vm);
    if (this.#vms.size === 0) this.#disableAll();
  }

  /** hardware_enable_all. Where one processor fails, those before it are turned off again. */
  #enableAll(): void {
    const { host, ops } = this;
    for (const processor of host.processors) {
      if (!processor.online) continue;
      try {
        host.scheduler.runOn(processor.id, () => {
          this.sharedMsrs.cpuOnline(processor.id);
          ops.hardware_enable();
        });
      } catch (cause) {
        this.#disableAll();
        if (cause instanceof InterceptorError) throw cause;
        throw new KvmError("EBUSY", "KVM_CREATE_VM", `virtualization cannot be enabled on processor ${processor.id}`, {
          cause,
        });
      }
      this.#enabled.add(processor.id);
    }
  }

  #disableAll(): void {
    for (const cpu of this.#enabled) {
      this.host.scheduler.runOn(cpu, () => {
        this.ops.hardware_disable();
        this.sharedMsrs.restoreHost(cpu);
      });
    }
    this.#enabled.clear();
  }

  // --- what the API tells

  /** KVM_GET_SUPPORTED_CPUID. */
  getSupportedCpuid(): CpuidEntry[] {
    return supportedCpuid(this);
  }

  /** KVM_GET_MSR_INDEX_LIST. */
  getMsrIndexList(): readonly number[] {
    return this.#msrList;
  }

  /** KVM_CHECK_EXTENSION by the capability's name without KVM_CAP_; 0 for one that is not there. */
  checkExtension(capability: string): number {
    if (capability === "VAPIC") return this.ops.cpu_has_accelerated_tpr() ? 0 : 1;
    if (capability === "X86_SMM") return this.ops.cpu_has_high_real_mode_segbase() ? 1 : 0;
    return Object.hasOwn(EXTENSIONS, capability) ? EXTENSIONS[capability] : 0;
  }

  // --- the host's processor

  hostCpuid(leaf: number, subleaf: number): CpuidResult {
    return this.host.scheduler.current().cpuid(leaf, subleaf);
  }

  hostHas(feature: CpuidFeature): boolean {
    const { eax: max } = this.hostCpuid((feature.leaf & 0x80000000) >>> 0, 0);
    if (max < feature.leaf) return false;
    return ((this.hostCpuid(feature.leaf, feature.subleaf)[feature.register] >>> feature.bit) & 1) === 1;
  }

  /** NX is on in the host: is_efer_nx(). A 64-bit host has it wherever CPUID shows it. */
  get nxEnabled(): boolean {
    return this.hostHas(CPUID.NX);
  }

  // --- time

  /** A timer of the host; a plugin that listens to `timerFired` may keep its owner from hearing of it. */
  createTimer(name: string, fire: () => void): TimerHandle {
    let deadline = 0;
    const handle = this.host.timers.create(name, () => {
      const event = { name, deadline, now: this.host.clock.now(), drop: false };
      this.hooks.timerFired(event);
      if (!event.drop) fire();
    });
    return {
      get deadline() {
        return handle.deadline;
      },
      arm: (ns) => {
        deadline = ns;
        handle.arm(ns);
      },
      cancel: () => handle.cancel(),
    };
  }

  /** Set the timer of processor `cpu` to the first of `cycles` and the next host timer. */
  armTimer(cpu: number, cycles: number): void {
    const { host } = this;
    const next = host.timers.next();
    let deadline = cycles;
    if (next !== undefined) deadline = Math.min(deadline, Math.ceil((next * host.clock.tscKhz) / 1e6));
    const wanted = deadline === Infinity ? undefined : deadline;
    if (this.#armed[cpu] === wanted) return;
    this.#armed[cpu] = wanted;
    host.processors[cpu].setTimer(wanted);
  }

  disarmTimer(cpu: number): void {
    if (this.#armed[cpu] === undefined) return;
    this.#armed[cpu] = undefined;
    this.host.processors[cpu].setTimer(undefined);
  }

  /** The host's interrupt handler, on the current processor. */
  hostInterrupt(vector: number): void {
    if (vector !== HOST_TIMER_VECTOR) return;
    // One-shot: it has to be set again, whatever it was set to.
    this.#armed[this.host.scheduler.current().id] = undefined;
    this.host.timers.runDue();
  }

  /** Take the interrupts that wait on the current processor, as it does when interrupts are turned on. */
  takeInterrupts(): void {
    const processor = this.host.scheduler.current();
    while (processor.interruptPending) {
      const vector = processor.acknowledgeInterrupt();
      if (vector < 0) return;
      this.hostInterrupt(vector);
    }
    const next = this.host.timers.next();
    if (next !== undefined && next <= this.host.clock.now()) this.host.timers.runDue();
  }
}

function coreEvents(core: KvmCore): CoreEvents {
  const events = Object.entries(core.hooks.events).map(([name, hook]) => [
    name,
    (event: never) => {
      if (hook.used) hook.call(event);
    },
  ]);
  return Object.fromEntries(events) as CoreEvents;
}
