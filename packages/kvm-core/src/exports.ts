import type { KvmExports, PteMasks } from "./contract/index.js";
import { emulateCpuid } from "./cpuid/emulate.js";
import { cpuidHasNamed, findCpuidEntry } from "./cpuid/features.js";
import { emulateHalt, emulateHypercall, emulateWbinvd, vcpuHalt } from "./emulate/hypercall.js";
import { emulateInstruction, injectRealmodeInterrupt } from "./emulate/instruction.js";
import { fastPio } from "./emulate/pio.js";
import { taskSwitch } from "./emulate/task-switch.js";
import {
  clearExceptionQueue, clearInterruptQueue, completeInsnGp, eventNeedsReinjection, injectGp, injectPageFault,
  queueException, queueExceptionE, queueInterrupt, requeueException, requeueExceptionE, requireCpl,
} from "./events/exceptions.js"; // prettier-ignore
import { cpuGetInterrupt, cpuHasInterrupt } from "./irqchip/interrupts.js";
import { hvTimerExpired, switchToHvTimer, switchToSwTimer } from "./irqchip/lapic-timer.js";
import { setEoi } from "./irqchip/lapic-vectors.js";
import { clearGuestPage, readGuest, writeGuest } from "./memory/guest.js";
import { mmuInvlpg, mmuResetContext, mmuUnload } from "./mmu/context.js";
import { handleMmioPageFault, mmuPageFault } from "./mmu/fault.js";
import { setPrivateSlot } from "./mmu/memory-regions.js";
import { loadPdptrs } from "./mmu/pdptrs.js";
import { readGuestVirt } from "./mmu/virtual.js";
import { getMsr, getMsrCommon, setMsr, setMsrCommon } from "./msr/access.js";
import { setApicBase } from "./msr/apic-base.js";
import { guestMemoryType } from "./msr/mtrr.js";
import { rdpmc } from "./pmu/pmu.js";
import { registerRead, registerWrite, ripRead, ripWrite } from "./registers/cache.js";
import {
  getCr8, is64BitMode, isLongMode, isPae, isPaging, isProtectedMode, readCr0, readCr3, readCr4,
} from "./registers/control.js"; // prettier-ignore
import { getDr, requireDr, setDr } from "./registers/debug.js";
import { linearRip } from "./registers/flags.js";
import { lmsw, setCr0, setCr3, setCr4, setCr8 } from "./registers/set-control.js";
import { setXcr } from "./registers/xcr.js";
import { kick, makeRequest } from "./requests.js";
import type { KvmState } from "./state/kvm-state.js";
import { isResetBootProcessor, type VcpuState, type VmState } from "./state/vcpu-state.js";
import { hostInterrupt } from "./time/host-timers.js";
import { readL1Tsc, writeTsc } from "./time/tsc.js";
import { KvmVcpu } from "./vcpu.js";

/** A general register outside 64-bit mode has 32 bits: kvm_register_readl, _writel. */
const cut = (vcpu: VcpuState, value: bigint): bigint => (is64BitMode(vcpu) ? value : value & 0xffffffffn);

/**
 * What the generic layer exports to the backend of one core. The functions take the core's own classes: every vCPU and
 * VM that a backend can have in hand is one of them.
 */
export function createExports(kvm: KvmState): KvmExports {
  return {
    vcpuInit: (vm: VmState, id: number, backendState: object) => new KvmVcpu(vm, id, backendState),
    vcpuUninit: (vcpu: KvmVcpu) => vcpu.uninit(),
    isBootProcessor: isResetBootProcessor,
    makeRequest,
    kick,
    hostInterrupt: (vector: number) => hostInterrupt(kvm, vector),

    registerRead,
    registerWrite,
    registerReadL: (vcpu: VcpuState, reg: number) => cut(vcpu, registerRead(vcpu, reg)),
    registerWriteL: (vcpu: VcpuState, reg: number, value: bigint) => registerWrite(vcpu, reg, cut(vcpu, value)),
    ripRead,
    ripWrite,
    linearRip,
    readCr0,
    readCr3,
    readCr4,
    setCr0,
    setCr3,
    setCr4,
    setCr8,
    getCr8,
    lmsw,
    setXcr,
    getDr,
    setDr,
    requireDr,
    requireCpl,
    isLongMode,
    is64BitMode,
    isPaging,
    isPae,
    isProtectedMode,
    loadPdptrs,

    getMsrCommon,
    setMsrCommon,
    getMsr,
    setMsr,
    enableEferBits: (mask: bigint) => {
      kvm.eferReservedBits &= ~mask;
    },
    defineSharedMsr: (slot: number, msr: number) => kvm.sharedMsrs.define(slot, msr),
    setSharedMsr: (slot: number, value: bigint, mask: bigint) => kvm.sharedMsrs.set(slot, value, mask),
    findCpuidEntry,
    guestCpuidHas: cpuidHasNamed,
    cpuidMaxPhysAddr: (vcpu: VcpuState) => vcpu.arch.maxPhysAddrBits,
    mtrrGuestMemoryType: guestMemoryType,
    hasNoncoherentDma: (vm: VmState) => vm.noncoherentDma,
    rdpmc,

    queueException,
    queueExceptionE,
    requeueException,
    requeueExceptionE,
    injectPageFault,
    injectGp,
    queueInterrupt,
    clearExceptionQueue,
    clearInterruptQueue,
    eventNeedsReinjection,
    completeInsnGp,
    cpuHasInterrupt,
    cpuGetInterrupt,

    emulateCpuid,
    emulateHalt,
    vcpuHalt,
    emulateHypercall,
    emulateWbinvd,
    fastPio,
    emulateInstruction,
    taskSwitch,
    injectRealmodeInterrupt,
    onSpin: (vcpu: VcpuState) => {
      vcpu.yielded = true;
    },

    disableLargepages: () => void (kvm.largePagesEnabled = false),
    setMaskPtes: (masks: PteMasks) => kvm.spte.setMasks(masks),
    setMmioSpteMask: (mask: bigint) => kvm.spte.setMmioMask(mask),
    enableTdp: () => {
      kvm.tdpEnabled = true;
    },
    disableTdp: () => {
      kvm.tdpEnabled = false;
    },
    mmuPageFault,
    handleMmioPageFault,
    mmuResetContext,
    mmuUnload,
    mmuInvlpg,
    readGuest,
    writeGuest,
    clearGuestPage,
    readGuestVirt,
    passThroughPort: (vm: VmState, port: number) => vm.buses.port.passThrough(port),
    setPrivateSlot,

    lapicInKernel: (vcpu: VcpuState) => vcpu.lapic !== undefined,
    getApicBase: (vcpu: VcpuState) => vcpu.arch.apicBase,
    setApicBase,
    lapicSetEoi: (vcpu: VcpuState) => vcpu.lapic && setEoi(vcpu.lapic),
    lapicExpiredHvTimer: (vcpu: VcpuState) => vcpu.lapic && hvTimerExpired(vcpu.lapic),
    lapicHvTimerInUse: (vcpu: VcpuState) => vcpu.lapic?.timer.hvTimerInUse ?? false,
    lapicSwitchToSwTimer: (vcpu: VcpuState) => vcpu.lapic && switchToSwTimer(vcpu.lapic),
    lapicSwitchToHvTimer: (vcpu: VcpuState) => vcpu.lapic && switchToHvTimer(vcpu.lapic),
    readL1Tsc,
    writeTsc,
  };
}
