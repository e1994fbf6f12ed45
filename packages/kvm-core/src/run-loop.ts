import { APIC_DEFAULT_PHYS_BASE } from "@tapvisor/x86-isa";
import {
  DEBUGREG, HOST_RESCHEDULE_VECTOR, KvmError, REQUEST, type RunOptions, type VcpuExit,
} from "./contract/index.js"; // prettier-ignore
import { HF_GUEST, injectPendingEvent, processNmi } from "./events/inject.js";
import { updateCr8Intercept } from "./irqchip/cr8.js";
import { cpuHasInjectableInterrupt, cpuHasInterrupt } from "./irqchip/interrupts.js";
import { scanIoapic } from "./irqchip/ioapic-scan.js";
import { deliverLocal, hasPendingTimer, injectTimer } from "./irqchip/lapic-delivery.js";
import { APIC } from "./irqchip/lapic-registers.js";
import { findHighestIrr, isEnabled } from "./irqchip/lapic-vectors.js";
import { mmuReload, mmuUnload } from "./mmu/context.js";
import { updateDr0123, updateDr6, updateDr7 } from "./registers/debug.js";
import { loadGuestFpu } from "./registers/fpu.js";
import { loadGuestXcr0, putGuestXcr0 } from "./registers/xcr.js";
import { checkRequest, makeRequest } from "./requests.js";
import { acceptApicEvents, hasPendingApicEvents } from "./reset/init-sipi.js";
import { processorOf, type VcpuState } from "./state/vcpu-state.js";
import { armTimer, disarmTimer, takeInterrupts } from "./time/host-timers.js";
import { loadVcpu, putVcpu } from "./vcpu-load.js";

/** KVM_RUN: complete what user space answered, then run until there is something for it again. */
export function runVcpu(vcpu: VcpuState, options: RunOptions): VcpuExit {
  const { maxCycles } = options;
  if (maxCycles !== undefined && !(maxCycles > 0)) {
    throw new KvmError("EINVAL", "KVM_RUN", `maxCycles is ${maxCycles}: a positive number`);
  }
  vcpu.requestInterruptWindow = options.requestInterruptWindow ?? false;
  vcpu.exit = undefined;
  loadVcpu(vcpu);
  const { cpu } = vcpu;
  try {
    const budgetEnd = maxCycles === undefined ? Infinity : processorOf(vcpu).tsc() + maxCycles;
    const complete = vcpu.completeUserspaceIo;
    vcpu.completeUserspaceIo = undefined;
    if (complete === undefined || complete()) vcpuRun(vcpu, budgetEnd);
  } finally {
    disarmTimer(vcpu.kvm, cpu);
    putVcpu(vcpu);
  }
  const exit = reportExit(vcpu, vcpu.exit ?? { reason: "unknown", hardwareExitReason: -1 });
  vcpu.exit = exit;
  vcpu.preempted = exit.reason === "budget" || exit.reason === "idle";
  return exit;
}

/** A plugin may exchange the exit. */
function reportExit(vcpu: VcpuState, exit: VcpuExit): VcpuExit {
  const hook = vcpu.kvm.hooks.exitToUser;
  if (!hook.used) return exit;
  const event = { vm: vcpu.vm, vcpu, exit };
  hook.call(event);
  return event.exit;
}

/** vcpu_run. */
function vcpuRun(vcpu: VcpuState, budgetEnd: number): void {
  const { arch, kvm } = vcpu;
  const processor = processorOf(vcpu);
  if (arch.mpState === "uninitialized") {
    // Linux answers with EAGAIN after it slept here; nobody sleeps, so the loop goes on when INIT has come.
    if (vcpu.lapic) acceptApicEvents(vcpu.lapic);
  }
  vcpu.yielded = false;
  for (;;) {
    if (processor.tsc() >= budgetEnd || mayYield(vcpu)) {
      vcpu.exit = { reason: "budget" };
      return;
    }
    takeInterrupts(kvm);
    if (arch.mpState === "runnable" && !vcpu.blocking) {
      armTimer(kvm, vcpu.cpu, budgetEnd);
      if (!enterGuest(vcpu)) return;
    } else if (!block(vcpu)) {
      vcpu.exit = { reason: "idle" };
      return;
    }
    arch.requests &= ~(1 << REQUEST.PENDING_TIMER);
    if (vcpu.lapic && hasPendingTimer(vcpu.lapic)) injectTimer(vcpu.lapic);
    if (vcpu.requestInterruptWindow && acceptsUserInterrupt(vcpu)) {
      vcpu.exit = { reason: "irq_window_open" };
      return;
    }
  }
}

/** The guest spins (kvm_vcpu_on_spin), and another vCPU could have the processor meanwhile. */
function mayYield(vcpu: VcpuState): boolean {
  return vcpu.yielded && vcpu.vm.vcpus.some((other) => other !== vcpu && isRunnable(other));
}

/** kvm_vcpu_ready_for_interrupt_injection: user space could deliver a vector by KVM_INTERRUPT now. */
function acceptsUserInterrupt(vcpu: VcpuState): boolean {
  const { arch } = vcpu;
  if (vcpu.lapic || arch.interrupt.pending || arch.exception.pending || arch.nmiInjected) return false;
  return vcpu.kvm.ops.interrupt_allowed(vcpu);
}

// --- halting

/** kvm_arch_vcpu_runnable. */
export function isRunnable(vcpu: VcpuState): boolean {
  const { arch } = vcpu;
  const { ops } = vcpu.kvm;
  if ((arch.hflags & HF_GUEST) !== 0) ops.check_nested_events(vcpu, false);
  if (arch.mpState === "runnable") return true;
  if (hasPendingApicEvents(vcpu)) return true;
  if (arch.mpState !== "halted") return false;
  if (vcpu.nmiQueued > 0 || arch.nmiPending > 0) return true;
  return cpuHasInterrupt(vcpu) && ops.interrupt_allowed(vcpu);
}

/**
 * vcpu_block, in the part between pre_block and post_block where a thread would sleep: false while there is nothing to
 * wake up for. The next `run` goes on here.
 */
function block(vcpu: VcpuState): boolean {
  const { arch, lapic } = vcpu;
  const { ops } = vcpu.kvm;
  if (!vcpu.blocking && !isRunnable(vcpu) && !ops.pre_block(vcpu)) {
    vcpu.blocking = true;
    ops.vcpu_blocking?.(vcpu);
  }
  if (vcpu.blocking) {
    const runnable = isRunnable(vcpu);
    if (!runnable && !(lapic && hasPendingTimer(lapic))) return false;
    vcpu.blocking = false;
    ops.vcpu_unblocking?.(vcpu);
    ops.post_block?.(vcpu);
    // Only a timer expired: its interrupt is delivered first, then the vCPU is looked at again.
    if (!runnable) return true;
  }
  if (lapic) acceptApicEvents(lapic);
  if (arch.mpState === "halted") arch.mpState = "runnable";
  return true;
}

// --- entering the guest

/** What is done about the requests: true or false as an exit handler's answer, undefined to go on. */
function handleRequests(vcpu: VcpuState): boolean | undefined {
  const { arch } = vcpu;
  const { ops } = vcpu.kvm;
  if (checkRequest(vcpu, REQUEST.MMU_RELOAD)) mmuUnload(vcpu);
  // Master clock and clock updates are kvmclock's, which is not offered; nothing is out of sync without shadow pages.
  checkRequest(vcpu, REQUEST.MASTERCLOCK_UPDATE);
  checkRequest(vcpu, REQUEST.CLOCK_UPDATE);
  checkRequest(vcpu, REQUEST.MMU_SYNC);
  if (checkRequest(vcpu, REQUEST.TLB_FLUSH)) ops.tlb_flush(vcpu);
  if (checkRequest(vcpu, REQUEST.REPORT_TPR_ACCESS)) return false;
  if (checkRequest(vcpu, REQUEST.TRIPLE_FAULT)) {
    vcpu.exit = { reason: "shutdown" };
    return false;
  }
  if (checkRequest(vcpu, REQUEST.DEACTIVATE_FPU)) {
    arch.fpuActive = false;
    ops.fpu_deactivate(vcpu);
  }
  checkRequest(vcpu, REQUEST.APF_HALT);
  checkRequest(vcpu, REQUEST.STEAL_UPDATE);
  if (checkRequest(vcpu, REQUEST.NMI)) processNmi(vcpu);
  checkRequest(vcpu, REQUEST.PMU);
  if (checkRequest(vcpu, REQUEST.PMI) && vcpu.lapic) deliverLocal(vcpu.lapic, APIC.LVTPC);
  if (checkRequest(vcpu, REQUEST.SCAN_IOAPIC)) scanIoapic(vcpu);
  if (checkRequest(vcpu, REQUEST.APIC_PAGE_RELOAD)) reloadApicAccessPage(vcpu);
  return undefined;
}

/** kvm_vcpu_reload_apic_access_page. */
function reloadApicAccessPage(vcpu: VcpuState): void {
  const { ops } = vcpu.kvm;
  if (!vcpu.lapic || ops.set_apic_access_page_addr === undefined) return;
  const page = vcpu.vm.slots.hostAddressOf(APIC_DEFAULT_PHYS_BASE);
  if (page !== -1) ops.set_apic_access_page_addr(vcpu, page);
}

/** vcpu_enter_guest: one entry, one exit. False = return to user space. */
function enterGuest(vcpu: VcpuState): boolean {
  const { arch, kvm, lapic } = vcpu;
  const { ops } = kvm;
  const wantsWindow = vcpu.requestInterruptWindow && acceptsUserInterrupt(vcpu);
  let immediateExit = false;

  if (arch.requests !== 0) {
    const outcome = handleRequests(vcpu);
    if (outcome !== undefined) return outcome;
  }
  // Posted interrupts make no request.
  if (arch.apicvActive && lapic && isEnabled(lapic)) ops.hwapic_irr_update(vcpu, findHighestIrr(lapic));

  if (checkRequest(vcpu, REQUEST.EVENT) || wantsWindow) {
    if (lapic) acceptApicEvents(lapic);
    if (arch.mpState === "init_received") return true;
    if (injectPendingEvent(vcpu, wantsWindow)) {
      immediateExit = true;
    } else {
      if (arch.nmiPending > 0) ops.enable_nmi_window(vcpu);
      if (cpuHasInjectableInterrupt(vcpu) || vcpu.requestInterruptWindow) ops.enable_irq_window(vcpu);
    }
    if (lapic && isEnabled(lapic)) updateCr8Intercept(vcpu);
  }

  try {
    mmuReload(vcpu);
  } catch (error) {
    ops.cancel_injection(vcpu);
    throw error;
  }

  ops.prepare_guest_switch(vcpu);
  if (arch.fpuActive) loadGuestFpu(vcpu);
  vcpu.inGuestMode = true;
  if (arch.requests !== 0) {
    vcpu.inGuestMode = false;
    ops.cancel_injection(vcpu);
    return true;
  }
  loadGuestXcr0(vcpu);
  const processor = processorOf(vcpu);
  if (immediateExit) {
    makeRequest(vcpu, REQUEST.EVENT);
    processor.raiseInterrupt(HOST_RESCHEDULE_VECTOR);
  }
  if (arch.switchDbRegs !== 0) loadDebugRegisters(vcpu);

  ops.run(vcpu);

  if ((arch.switchDbRegs & DEBUGREG.WONT_EXIT) !== 0) {
    ops.sync_dirty_debug_regs(vcpu);
    updateDr0123(vcpu);
    updateDr6(vcpu);
    updateDr7(vcpu);
    arch.switchDbRegs &= ~DEBUGREG.RELOAD;
  }
  vcpu.inGuestMode = false;
  putGuestXcr0(vcpu);
  ops.handle_external_intr(vcpu);
  return ops.handle_exit(vcpu);
}

/** The guest's breakpoints are in the processor while it runs; its DR7 comes with the entry. */
function loadDebugRegisters(vcpu: VcpuState): void {
  const { arch } = vcpu;
  const processor = processorOf(vcpu);
  const [db0 = 0n, db1 = 0n, db2 = 0n, db3 = 0n] = arch.effDb;
  processor.writeDr(7, 0n);
  processor.writeDr(0, db0);
  processor.writeDr(1, db1);
  processor.writeDr(2, db2);
  processor.writeDr(3, db3);
  processor.writeDr(6, arch.dr6);
  arch.switchDbRegs &= ~DEBUGREG.RELOAD;
}
