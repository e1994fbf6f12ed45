import { APIC_BASE, APIC_DEFAULT_PHYS_BASE } from "@tapvisor/x86-isa";
import { KvmError, REQUEST } from "../contract/index.js";
import { updateCpuid } from "../cpuid/update.js";
import { makeRequest } from "../requests.js";
import { isResetBootProcessor, type Lapic, type VcpuState } from "../state/vcpu-state.js";
import { createHostTimer } from "../time/host-timers.js";
import { requestIoapicScan } from "./ioapic-scan.js";
import {
  APIC, APIC_PAGE_BYTES, APIC_VERSION, DELIVERY, DFR_FLAT, LVT_COUNT, LVT_MASKED,
} from "./lapic-registers.js"; // prettier-ignore
import {
  cancelTimer, createLapicTimer, currentCount, lapicTimerFired, startTimer, stopTimer, updateDivideCount, updateTimerMode,
} from "./lapic-timer.js"; // prettier-ignore
import {
  findHighestIrr, findHighestIsr, highestVector, isX2apic, register, setRegister, updatePpr,
} from "./lapic-vectors.js"; // prettier-ignore

/** kvm_create_lapic: its page is the host's memory, which hardware that virtualizes the APIC works on. */
export function createLapic(vcpu: VcpuState): Lapic {
  const { memory } = vcpu.kvm.host;
  const page = memory.allocatePage();
  const bytes = memory.view(page, APIC_PAGE_BYTES);
  const handle = createHostTimer(vcpu.kvm, `lapic timer of vcpu ${vcpu.vm.id}.${vcpu.id}`, () => lapicTimerFired(apic));
  const apic: Lapic = {
    vcpu,
    page,
    regs: new Uint32Array(bytes.buffer, bytes.byteOffset, APIC_PAGE_BYTES / 4),
    timer: createLapicTimer(handle),
    baseAddress: APIC_DEFAULT_PHYS_BASE,
    irrPending: false,
    highestIsr: -1,
    pendingEvents: 0,
    sipiVector: 0,
    arbitrationPriority: 0,
  };
  return apic;
}

/** kvm_free_lapic. */
export function freeLapic(apic: Lapic): void {
  cancelTimer(apic);
  apic.vcpu.kvm.host.memory.freePages(apic.page, 1);
}

/** kvm_lapic_reset: power-on, or INIT, which keeps the APIC's base, mode and identity. */
export function resetLapic(apic: Lapic, initEvent: boolean): void {
  const { vcpu } = apic;
  stopTimer(apic);
  if (!initEvent) {
    const bsp = isResetBootProcessor(vcpu) ? APIC_BASE.BSP : 0n;
    setLapicBase(apic, BigInt(APIC_DEFAULT_PHYS_BASE) | APIC_BASE.ENABLE | bsp);
    setRegister(apic, APIC.ID, vcpu.id << 24);
    apic.pendingEvents = 0;
    apic.sipiVector = 0;
  }
  const id = register(apic, APIC.ID);
  const logicalId = isX2apic(apic) ? register(apic, APIC.LDR) : 0;
  apic.regs.fill(0);
  setRegister(apic, APIC.ID, id);
  setRegister(apic, APIC.LDR, logicalId);
  setRegister(apic, APIC.LVR, APIC_VERSION);
  for (let i = 0; i < LVT_COUNT; i++) setRegister(apic, APIC.LVTT + 0x10 * i, LVT_MASKED);
  // KVM's quirk LINT0_REENABLED: LINT0 lets the PIC through from the start.
  setRegister(apic, APIC.LVT0, DELIVERY.EXTINT);
  setRegister(apic, APIC.DFR, DFR_FLAT);
  setRegister(apic, APIC.SPIV, 0xff);
  updateTimerMode(apic);
  updateDivideCount(apic);
  apic.irrPending = vcpu.arch.apicvActive;
  apic.highestIsr = -1;
  updatePpr(apic);
  apic.arbitrationPriority = 0;
}

/** kvm_lapic_set_base: IA32_APIC_BASE, checked already. */
export function setLapicBase(apic: Lapic, value: bigint): void {
  const { vcpu } = apic;
  const { arch, id } = vcpu;
  const changed = arch.apicBase ^ value;
  arch.apicBase = value;
  if ((changed & APIC_BASE.ENABLE) !== 0n && (value & APIC_BASE.ENABLE) !== 0n) setRegister(apic, APIC.ID, id << 24);
  if ((changed & APIC_BASE.X2APIC_ENABLE) !== 0n) {
    const on = (value & APIC_BASE.X2APIC_ENABLE) !== 0n;
    if (on) {
      setRegister(apic, APIC.ID, id);
      setRegister(apic, APIC.LDR, ((id >> 4) << 16) | (1 << (id & 0xf)));
    }
    vcpu.kvm.ops.set_virtual_x2apic_mode(vcpu, on);
  }
  // IA32_APIC_BASE[51:12].
  apic.baseAddress = Number(value & 0x000fffff_fffff000n);
  if (changed === 0n) return;
  requestIoapicScan(vcpu.vm);
  if ((changed & APIC_BASE.ENABLE) !== 0n) updateCpuid(vcpu);
}

/** KVM_GET_LAPIC: a copy of the registers. The ID is in xAPIC format whatever the mode. */
export function getLapicState(apic: Lapic): Uint8Array {
  const state = apic.regs.slice();
  if (isX2apic(apic)) state[APIC.ID >> 2] = register(apic, APIC.ID) << 24;
  state[APIC.TMCCT >> 2] = currentCount(apic);
  return new Uint8Array(state.buffer);
}

/** KVM_SET_LAPIC. IA32_APIC_BASE has to be set before. */
export function setLapicState(apic: Lapic, registers: Uint8Array): void {
  if (registers.length !== 0x400 && registers.length !== APIC_PAGE_BYTES) {
    throw new KvmError("EINVAL", "KVM_SET_LAPIC", `${registers.length} bytes: expected 1024 (or the whole page, 4096)`);
  }
  const { vcpu } = apic;
  const { ops } = vcpu.kvm;
  apic.regs.set(new Uint32Array(registers.slice().buffer));
  if (isX2apic(apic)) setRegister(apic, APIC.ID, register(apic, APIC.ID) >>> 24);
  setRegister(apic, APIC.LVR, APIC_VERSION);
  apic.highestIsr = highestVector(apic, APIC.ISR);
  updatePpr(apic);
  cancelTimer(apic);
  updateTimerMode(apic);
  updateDivideCount(apic);
  startTimer(apic);
  apic.irrPending = true;
  requestIoapicScan(vcpu.vm);
  if (vcpu.arch.apicvActive) {
    ops.apicv_post_state_restore?.(vcpu);
    ops.hwapic_irr_update(vcpu, findHighestIrr(apic));
    ops.hwapic_isr_update(vcpu, findHighestIsr(apic));
  }
  makeRequest(vcpu, REQUEST.EVENT);
  apic.arbitrationPriority = 0;
}
