import { APIC_BASE } from "@tapvisor/x86-isa";
import {
  type CpuidEntry, type DebugRegs, KvmError, type MpState, type Regs, REQUEST, type RunOptions, type Sregs, type Vcpu,
  type VcpuEvents, type VcpuExit, type Xcr,
} from "./contract/index.js"; // prettier-ignore
import { maxPhysAddr } from "./cpuid/features.js";
import { setCpuid2 } from "./cpuid/update.js";
import { injectNmi, queueInterrupt } from "./events/exceptions.js";
import { getVcpuEvents, setVcpuEvents } from "./events/vcpu-events.js";
import { APIC_EVENT } from "./irqchip/lapic-registers.js";
import { createLapic, freeLapic, getLapicState, resetLapic, setLapicState } from "./irqchip/lapic-state.js";
import { mmuUnload } from "./mmu/context.js";
import { isFault, translate } from "./mmu/walk.js";
import { getMsr, setMsr } from "./msr/access.js";
import { setupMce } from "./msr/machine-check.js";
import { MCE_BANKS } from "./msr/machine-check-banks.js";
import { pmuInit, pmuReset } from "./pmu/pmu.js";
import { getFpu, getXsave, initFpuImage, setFpu, setXsave, storeGuestFpu } from "./registers/fpu.js";
import { getDebugRegs, getRegs, getSregs, setDebugRegs, setGuestDebug, setRegs, setSregs } from "./registers/ioctl.js";
import { getXcrs, setXcrs } from "./registers/xcr.js";
import { kick, makeRequest } from "./requests.js";
import { acceptApicEvents } from "./reset/init-sipi.js";
import { powerOn, resetVcpu, startTsc } from "./reset/vcpu.js";
import { runVcpu } from "./run-loop.js";
import { isResetBootProcessor, type Lapic, VcpuFields, type VmState } from "./state/vcpu-state.js";
import { whileLoaded } from "./vcpu-load.js";

/** A translation for the host's eyes: as the supervisor reads. */
const HOST_READ = { write: false, user: false, fetch: false, implicit: false } as const;

/** With local APICs, all but the boot processor wait for INIT and SIPI. */
function initialMpState(vcpu: KvmVcpu): MpState {
  return !vcpu.vm.irqchipInKernel || isResetBootProcessor(vcpu) ? "runnable" : "uninitialized";
}

/** A virtual CPU: the ioctls on struct kvm_vcpu. */
export class KvmVcpu extends VcpuFields implements Vcpu {
  /** kvm_vcpu_init: called by the backend's vcpu_create. */
  constructor(vm: VmState, id: number, backendState: object | undefined) {
    super(vm, id, backendState);
    const { arch, kvm } = this;
    if (!kvm.tdpEnabled) {
      throw new KvmError(
        "ENOSYS",
        "KVM_CREATE_VCPU",
        "shadow paging does not exist: the backend must enable two-dimensional paging",
      );
    }
    arch.apicvActive = kvm.ops.get_enable_apicv();
    arch.mpState = initialMpState(this);
    arch.virtualTscKhz = kvm.host.clock.tscKhz;
    arch.mmu.shadowRootLevel = kvm.tdpLevel;
    arch.mcgCap = BigInt(MCE_BANKS);
    initFpuImage(arch.guestFpu);
    arch.cr0 |= 0x10n;
    arch.maxPhysAddrBits = maxPhysAddr(this);
    if (vm.irqchipInKernel) {
      arch.apicBase = APIC_BASE.ENABLE;
      this.lapic = createLapic(this);
      resetLapic(this.lapic, false);
    }
    try {
      pmuInit(this);
    } catch (error) {
      if (this.lapic) freeLapic(this.lapic);
      throw error;
    }
  }

  /** kvm_vcpu_uninit. */
  uninit(): void {
    pmuReset(this);
    if (this.lapic) freeLapic(this.lapic);
  }

  // --- life cycle

  /** kvm_arch_vcpu_setup: power-on. */
  setup(): void {
    whileLoaded(this, () => resetVcpu(this, false));
  }

  /** kvm_arch_vcpu_postcreate. */
  postcreate(): void {
    whileLoaded(this, () => startTsc(this));
  }

  /** kvm_arch_vcpu_destroy and kvm_arch_vcpu_free. */
  destroy(): void {
    whileLoaded(this, () => mmuUnload(this));
    storeGuestFpu(this);
    this.kvm.ops.vcpu_free(this);
  }

  /** What a reset of the machine does to the vCPU. */
  powerOn(): void {
    whileLoaded(this, () => powerOn(this));
    this.arch.mpState = initialMpState(this);
  }

  // --- the API

  run(options: RunOptions = {}): VcpuExit {
    return runVcpu(this, options);
  }

  getRegs(): Regs {
    return whileLoaded(this, () => getRegs(this));
  }

  setRegs(regs: Readonly<Partial<Regs>>): void {
    whileLoaded(this, () => setRegs(this, regs));
  }

  getSregs(): Sregs {
    return whileLoaded(this, () => getSregs(this));
  }

  setSregs(sregs: Readonly<Partial<Sregs>>): void {
    whileLoaded(this, () => setSregs(this, sregs));
  }

  getMsrs(indices: readonly number[]): bigint[] {
    return whileLoaded(this, () =>
      indices.map((index) => {
        const msr = { index, data: 0n, hostInitiated: true };
        if (getMsr(this, msr))
          throw new KvmError("EINVAL", "KVM_GET_MSRS", `MSR 0x${index.toString(16)} does not exist`);
        return msr.data;
      }),
    );
  }

  setMsrs(msrs: readonly { readonly index: number; readonly data: bigint }[]): void {
    whileLoaded(this, () => {
      for (const { index, data } of msrs) {
        if (setMsr(this, { index, data, hostInitiated: true })) {
          throw new KvmError("EINVAL", "KVM_SET_MSRS", `MSR 0x${index.toString(16)} refuses 0x${data.toString(16)}`);
        }
      }
    });
  }

  setCpuid2(entries: readonly CpuidEntry[]): void {
    whileLoaded(this, () => setCpuid2(this, entries));
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
    return whileLoaded(this, () => {
      if (this.arch.apicvActive) this.kvm.ops.sync_pir_to_irr(this);
      return getLapicState(lapic);
    });
  }

  setLapic(registers: Uint8Array): void {
    const lapic = this.#requireLapic("KVM_SET_LAPIC");
    whileLoaded(this, () => setLapicState(lapic, registers));
  }

  getVcpuEvents(): VcpuEvents {
    return whileLoaded(this, () => getVcpuEvents(this));
  }

  setVcpuEvents(events: VcpuEvents): void {
    whileLoaded(this, () => setVcpuEvents(this, events));
  }

  getMpState(): MpState {
    return whileLoaded(this, () => {
      if (this.lapic) acceptApicEvents(this.lapic);
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
      if (this.lapic) this.lapic.pendingEvents |= APIC_EVENT.SIPI;
    } else {
      this.arch.mpState = state;
    }
    makeRequest(this, REQUEST.EVENT);
  }

  getDebugRegs(): DebugRegs {
    return whileLoaded(this, () => getDebugRegs(this));
  }

  setDebugRegs(regs: DebugRegs): void {
    whileLoaded(this, () => setDebugRegs(this, regs));
  }

  setGuestDebug(control: number, debugRegs: readonly bigint[] = []): void {
    whileLoaded(this, () => setGuestDebug(this, control, debugRegs));
  }

  getFpu(): Uint8Array {
    return whileLoaded(this, () => getFpu(this));
  }

  setFpu(image: Uint8Array): void {
    whileLoaded(this, () => setFpu(this, image));
  }

  getXsave(): Uint8Array {
    return whileLoaded(this, () => getXsave(this));
  }

  setXsave(area: Uint8Array): void {
    whileLoaded(this, () => setXsave(this, area));
  }

  getXcrs(): readonly Xcr[] {
    return getXcrs(this);
  }

  setXcrs(xcrs: readonly Xcr[]): void {
    whileLoaded(this, () => setXcrs(this, xcrs));
  }

  translate(linear: bigint): { physical: number; writable: boolean; usermode: boolean } | undefined {
    return whileLoaded(this, () => {
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
    whileLoaded(this, () => setupMce(this, mcgCap));
  }
}
