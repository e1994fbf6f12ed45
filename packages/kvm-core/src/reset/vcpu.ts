import { MSR } from "@tapvisor/x86-isa";
import { REQUEST, VcpuArch } from "../contract/index.js";
import { updateCpuid } from "../cpuid/update.js";
import { resetLapic } from "../irqchip/lapic-state.js";
import { pmuReset } from "../pmu/pmu.js";
import { updateDr0123, updateDr6, updateDr7 } from "../registers/debug.js";
import { initFpuImage, storeGuestFpu } from "../registers/fpu.js";
import { makeRequest } from "../requests.js";
import { VcpuFields, type VcpuState } from "../state/vcpu-state.js";
import { writeTsc } from "../time/tsc.js";
import { resetFields } from "./fields.js";
import { ARCH_RESET, VCPU_RESET } from "./tables.js";

const ALL_REGISTERS = ~0;
/** Requests that are about the host's tables: they stay. The others are about events, which are gone. */
const HOST_REQUESTS = (1 << REQUEST.TLB_FLUSH) | (1 << REQUEST.MMU_RELOAD) | (1 << REQUEST.SCAN_IOAPIC);

/** The state that a vCPU is made with. */
function initialArch(vcpu: VcpuState): VcpuArch {
  const arch = new VcpuArch();
  // What is reset is current, and has yet to reach the hardware.
  arch.regsAvail = ALL_REGISTERS;
  arch.regsDirty = ALL_REGISTERS;
  arch.mmu.shadowRootLevel = vcpu.kvm.tdpLevel;
  arch.requests = vcpu.arch.requests & HOST_REQUESTS;
  initFpuImage(arch.guestFpu);
  return arch;
}

/** kvm_vcpu_reset: power-on, or INIT. */
export function resetVcpu(vcpu: VcpuState, initEvent: boolean): void {
  // Not what is left in a processor's registers, but the image counts from now on.
  if (!initEvent) storeGuestFpu(vcpu);
  resetFields<VcpuFields>(vcpu, new VcpuFields(vcpu.vm, vcpu.id, undefined), VCPU_RESET, initEvent);
  resetFields(vcpu.arch, initialArch(vcpu), ARCH_RESET, initEvent);
  updateDr0123(vcpu);
  updateDr6(vcpu);
  updateDr7(vcpu);
  makeRequest(vcpu, REQUEST.EVENT);
  if (!initEvent) pmuReset(vcpu);
  vcpu.kvm.ops.vcpu_reset(vcpu, initEvent);
  // CPUID shows CR4.OSXSAVE and the size of what XCR0 enables.
  updateCpuid(vcpu);
}

/** As the vCPU was when it was made, but for what user space has set. */
export function powerOn(vcpu: VcpuState): void {
  if (vcpu.lapic) resetLapic(vcpu.lapic, false);
  resetVcpu(vcpu, false);
  startTsc(vcpu);
}

/** kvm_arch_vcpu_postcreate: the TSC starts at 0, together with that of the VM's other vCPUs. */
export function startTsc(vcpu: VcpuState): void {
  writeTsc(vcpu, { index: MSR.IA32_TIME_STAMP_COUNTER, data: 0n, hostInitiated: true });
}
