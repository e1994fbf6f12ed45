import { APIC_BASE } from "@tapvisor/x86-isa";
import {
  type CpuidEntry, type CsBits, type DebugRegs, KvmError, type LogicalProcessor, type MpState, type Regs, REQUEST,
  type RunOptions, type Sregs, type Vcpu, VcpuArch, type VcpuEvents, type VcpuExit, type Xcr,
} from "./contract/index.js"; // prettier-ignore
import { CpuidTable, maxPhysAddr } from "./cpuid/entries.js";
import { setCpuid2 } from "./cpuid/update.js";
import { EmulatorMachine } from "./emulate/machine.js";
import { clearExceptionQueue, clearInterruptQueue, injectNmi, queueInterrupt } from "./events/exceptions.js";
import { getVcpuEvents, setVcpuEvents } from "./events/vcpu-events.js";
import { Lapic } from "./irqchip/lapic.js";
import type { Kvm } from "./kvm.js";
import { mmuUnload } from "./mmu/context.js";
import { isFault, translate } from "./mmu/walk.js";
import { getMsr, setMsr } from "./msr/access.js";
import { MCE_BANKS, setupMce } from "./msr/machine-check.js";
import { pmuInit, pmuReset } from "./pmu/pmu.js";
import { getDebugRegs, getRegs, getSregs, setDebugRegs, setGuestDebug, setRegs, setSregs } from "./registers/ioctl.js";
import { updateDr0123, updateDr6, updateDr7 } from "./registers/debug.js";
import { getFpu, getXsave, initFpuImage, putGuestFpu, setFpu, setXsave, storeGuestFpu } from "./registers/fpu.js";
import { deliverSipiVector } from "./registers/segments.js";
import { getXcrs, setXcrs } from "./registers/xcr.js";
import { kick, makeRequest } from "./requests.js";
import { runVcpu } from "./run-loop.js";
import { writeTsc } from "./time/tsc.js";
import type { KvmVm } from "./vm.js";

const DR6_INIT = 0xffff0ff0n;
const DR7_INIT = 0x400n;
/** A translation for the host's eyes: as the supervisor reads. */
const HOST_READ = { write: false, user: false, fetch: false, implicit: false } as const;

/** A virtual CPU: struct kvm_vcpu with the ioctls on it. */
export class KvmVcpu implements Vcpu {
  readonly arch = new VcpuArch();
  readonly kvm: Kvm;
  cpu = -1;
  exit: VcpuExit | undefined;
  inGuestMode = false;

  /** With an irqchip in the kernel. */
  readonly lapic: Lapic | undefined;
  cpuid = new CpuidTable([]);
  readonly mceBanks = new BigUint64Array(4 * MCE_BANKS);
  smbase = 0x30000n;
  /** NMIs that were sent and not yet looked at. */
  nmiQueued = 0;

  /** The processor whose registers hold the guest's FPU state; `arch.guestFpu` is out of date then. */
  fpuProcessor: LogicalProcessor | undefined;
  fpuCounter = 0;
  guestXcr0Loaded = false;
  /** CR4 when the guest was last entered, and its OSXSAVE: see loadGuestXcr0. */
  cr4AtLastEntry = 0n;
  osxsave = false;
  /** It spins in a loop with PAUSE: another vCPU should have the processor. */
  yielded = false;
  readonly emulator = new EmulatorMachine(this);
  /** Scratch of get_cs_db_l_bits. */
  readonly csBits: CsBits = { db: false, l: false };

  /** What to do with user space's answer when `run` is called again; its result is that of an exit handler. */
  completeUserspaceIo: (() => boolean) | undefined;
  /** kvm_run->request_interrupt_window: exit as soon as KVM_INTERRUPT could be delivered. */
  requestInterruptWindow = false;
  /** `pre_block` was called, `post_block` not yet: the vCPU sleeps in HLT. */
  blocking = false;
  /** The last `run` ended by its budget or idle, where Linux would have scheduled the thread out. */
  preempted = false;
  /** TSC of the host at the last exit. */
  hostTscAtExit = 0;
  #loads = 0;

  /** kvm_vcpu_init: called by the backend's vcpu_create. */
  constructor(
    readonly vm: KvmVm,
    readonly id: number,
    public backendState: object | undefined,
  ) {
    this.kvm = vm.kvm;
    const { arch, kvm } = this;
    if (!kvm.tdpEnabled) {
      throw new KvmError(
        "ENOSYS",
        "KVM_CREATE_VCPU",
        "shadow paging does not exist: the backend must enable two-dimensional paging",
      );
    }
    arch.apicvActive = kvm.ops.get_enable_apicv();
    arch.mpState = !vm.irqchipInKernel || this.isResetBootProcessor ? "runnable" : "uninitialized";
    arch.virtualTscKhz = kvm.host.clock.tscKhz;
    arch.mmu.shadowRootLevel = kvm.tdpLevel;
    arch.mcgCap = BigInt(MCE_BANKS);
    initFpuImage(arch.guestFpu);
    arch.cr0 |= 0x10n;
    arch.maxPhysAddrBits = maxPhysAddr(this);
    if (vm.irqchipInKernel) {
      arch.apicBase = APIC_BASE.ENABLE;
      this.lapic = new Lapic(this);
      this.lapic.reset(false);
    }
    try {
      pmuInit(this);
    } catch (error) {
      this.lapic?.free();
      throw error;
    }
  }

  /** kvm_vcpu_uninit. */
  uninit(): void {
    pmuReset(this);
    this.lapic?.free();
  }

  get isResetBootProcessor(): boolean {
    return this.id === this.vm.bootVcpuId;
  }

  /** The processor that this vCPU is loaded on. */
  processor(): LogicalProcessor {
    return this.kvm.host.processors[this.cpu];
  }

  // --- load and put

  /** vcpu_load: make the vCPU current on the processor that the caller runs on. Nests. */
  load(): void {
    if (this.vm.destroyed) throw new KvmError("EBADF", "vcpu_load", `VM ${this.vm.id} was destroyed`);
    if (this.#loads++ > 0) return;
    const { kvm } = this;
    const cpu = kvm.host.scheduler.current().id;
    try {
      if (this.preempted) {
        this.preempted = false;
        kvm.ops.sched_in(this, cpu);
      }
      kvm.ops.vcpu_load(this, cpu);
    } catch (error) {
      this.#loads -= 1;
      throw error;
    }
    if (this.cpu !== cpu) {
      this.lapic?.timer.migrate();
      this.cpu = cpu;
    }
  }

  /** vcpu_put. */
  put(): void {
    if (--this.#loads > 0) return;
    const { kvm } = this;
    kvm.ops.vcpu_put(this);
    putGuestFpu(this);
  }

  #loaded<T>(work: () => T): T {
    this.load();
    try {
      return work();
    } finally {
      this.put();
    }
  }

  // --- life cycle

  /** kvm_arch_vcpu_setup: power-on. */
  setup(): void {
    this.#loaded(() => {
      this.reset(false);
      mmuUnload(this);
    });
  }

  /** kvm_arch_vcpu_postcreate: the TSC starts at 0, together with that of the VM's other vCPUs. */
  postcreate(): void {
    this.#loaded(() => writeTsc(this, { index: 0x10, data: 0n, hostInitiated: true }));
  }

  /** kvm_arch_vcpu_destroy and kvm_arch_vcpu_free. */
  destroy(): void {
    this.#loaded(() => mmuUnload(this));
    storeGuestFpu(this);
    this.kvm.ops.vcpu_free(this);
  }

  /** kvm_vcpu_reset: power-on, or INIT. */
  reset(initEvent: boolean): void {
    const { arch } = this;
    arch.hflags = 0;
    this.nmiQueued = 0;
    arch.nmiPending = 0;
    arch.nmiInjected = false;
    clearInterruptQueue(this);
    clearExceptionQueue(this);

    arch.db.fill(0n);
    updateDr0123(this);
    arch.dr6 = DR6_INIT;
    updateDr6(this);
    arch.dr7 = DR7_INIT;
    updateDr7(this);
    arch.cr2 = 0n;
    makeRequest(this, REQUEST.EVENT);
    if (!initEvent) {
      pmuReset(this);
      this.smbase = 0x30000n;
    }
    arch.regs.u64.fill(0n);
    arch.regsAvail = ~0;
    arch.regsDirty = ~0;
    this.kvm.ops.vcpu_reset(this, initEvent);
  }

  /** As the vCPU was when it was made; what user space was asked for is dropped. */
  powerOn(): void {
    this.completeUserspaceIo = undefined;
    this.blocking = false;
    this.#loaded(() => {
      this.lapic?.reset(false);
      this.reset(false);
      mmuUnload(this);
    });
    this.arch.mpState = this.lapic === undefined || this.isResetBootProcessor ? "runnable" : "uninitialized";
  }

  deliverSipi(vector: number): void {
    deliverSipiVector(this, vector);
  }

  // --- the API

  run(options: RunOptions = {}): VcpuExit {
    return runVcpu(this, options);
  }

  getRegs(): Regs {
    return this.#loaded(() => getRegs(this));
  }

  setRegs(regs: Readonly<Partial<Regs>>): void {
    this.#loaded(() => setRegs(this, regs));
  }

  getSregs(): Sregs {
    return this.#loaded(() => getSregs(this));
  }

  setSregs(sregs: Readonly<Partial<Sregs>>): void {
    this.#loaded(() => setSregs(this, sregs));
  }

  getMsrs(indices: readonly number[]): bigint[] {
    return this.#loaded(() =>
      indices.map((index) => {
        const msr = { index, data: 0n, hostInitiated: true };
        if (getMsr(this, msr))
          throw new KvmError("EINVAL", "KVM_GET_MSRS", `MSR 0x${index.toString(16)} does not exist`);
        return msr.data;
      }),
    );
  }

  setMsrs(msrs: readonly { readonly index: number; readonly data: bigint }[]): void {
    this.#loaded(() => {
      for (const { index, data } of msrs) {
        if (setMsr(this, { index, data, hostInitiated: true })) {
          throw new KvmError("EINVAL", "KVM_SET_MSRS", `MSR 0x${index.toString(16)} refuses 0x${data.toString(16)}`);
        }
      }
    });
  }

  setCpuid2(entries: readonly CpuidEntry[]): void {
    this.#loaded(() => setCpuid2(this, entries));
  }

  getCpuid2(): readonly CpuidEntry[] {
    return this.cpuid.entries.map((entry) => ({ ...entry }));
  }

  #requireLapic(syscall: string): Lapic {
    if (!this.lapic)
      throw new KvmError("EINVAL", syscall, "the VM has no interrupt controller: call createIrqchip first");
    return this.lapic;
  }

  getLapic(): Uint8Array {
    const lapic = this.#requireLapic("KVM_GET_LAPIC");
    return this.#loaded(() => {
      if (this.arch.apicvActive) this.kvm.ops.sync_pir_to_irr(this);
      return lapic.getState();
    });
  }

  setLapic(registers: Uint8Array): void {
    const lapic = this.#requireLapic("KVM_SET_LAPIC");
    this.#loaded(() => lapic.setState(registers));
  }

  getVcpuEvents(): VcpuEvents {
    return this.#loaded(() => getVcpuEvents(this));
  }

  setVcpuEvents(events: VcpuEvents): void {
    this.#loaded(() => setVcpuEvents(this, events));
  }

  getMpState(): MpState {
    return this.#loaded(() => {
      this.lapic?.acceptEvents();
      return this.arch.mpState;
    });
  }

  setMpState(state: MpState): void {
    if (!this.lapic && state !== "runnable") {
      throw new KvmError(
        "EINVAL",
        "KVM_SET_MP_STATE",
        `${state}: without an interrupt controller a vCPU is always runnable`,
      );
    }
    if (state === "sipi_received") {
      this.arch.mpState = "init_received";
      this.lapic?.setSipiPending();
    } else {
      this.arch.mpState = state;
    }
    makeRequest(this, REQUEST.EVENT);
  }

  getDebugRegs(): DebugRegs {
    return this.#loaded(() => getDebugRegs(this));
  }

  setDebugRegs(regs: DebugRegs): void {
    this.#loaded(() => setDebugRegs(this, regs));
  }

  setGuestDebug(control: number, debugRegs: readonly bigint[] = []): void {
    this.#loaded(() => setGuestDebug(this, control, debugRegs));
  }

  getFpu(): Uint8Array {
    return this.#loaded(() => getFpu(this));
  }

  setFpu(image: Uint8Array): void {
    this.#loaded(() => setFpu(this, image));
  }

  getXsave(): Uint8Array {
    return this.#loaded(() => getXsave(this));
  }

  setXsave(area: Uint8Array): void {
    this.#loaded(() => setXsave(this, area));
  }

  getXcrs(): readonly Xcr[] {
    return getXcrs(this);
  }

  setXcrs(xcrs: readonly Xcr[]): void {
    this.#loaded(() => setXcrs(this, xcrs));
  }

  translate(linear: bigint): { physical: number; writable: boolean; usermode: boolean } | undefined {
    return this.#loaded(() => {
      const result = translate(this, linear, HOST_READ, false);
      if (isFault(result)) return undefined;
      return { physical: result.address, writable: result.writable, usermode: result.user };
    });
  }

  nmi(): void {
    injectNmi(this);
    kick(this);
  }

  interrupt(vector: number): void {
    if (!Number.isInteger(vector) || vector < 0 || vector > 255) {
      throw new KvmError("EINVAL", "KVM_INTERRUPT", `vector is ${vector}: 0 to 255`);
    }
    if (this.lapic)
      throw new KvmError("ENXIO", "KVM_INTERRUPT", "the interrupt controller is in the kernel: use irqLine");
    queueInterrupt(this, vector, false);
    makeRequest(this, REQUEST.EVENT);
  }

  setupMce(mcgCap: bigint): void {
    this.#loaded(() => setupMce(this, mcgCap));
  }
}
