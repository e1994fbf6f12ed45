import { GUESTDBG, REG, SREG, type ExitInfo, type Vcpu } from "@tapvisor/kvm-core/contract";
import {
  DEBUGCTL, DR6, EXIT_REASON, INTERRUPTIBILITY, INTR_INFO, INTR_INFO_TYPE_SHIFT, INTR_TYPE, MSR, RFLAGS, SEGMENT_RIGHTS, VECTOR, VM_ENTRY,
  VMCS,
} from "@tapvisor/x86-isa"; // prettier-ignore
import { handleExit } from "../exits/handle-exit.js";
import { completeInterrupts } from "../events/complete-interrupts.js";
import { VM_SUCCEED } from "../processor.js";
import { NO_DEADLINE, toVmx, type VcpuVmx } from "../vcpu-vmx.js";
import { hasVirtualNmis } from "../vmcs/capabilities.js";
import { saveHostState } from "../vmcs/host-switch.js";

const TF = Number(RFLAGS.TF);
const BTF = Number(DEBUGCTL.BTF);
const RSP_BIT = 1 << REG.RSP;
const RIP_BIT = 1 << REG.RIP;
/** Words of RSP and RIP in the registers of a vCPU. */
const RSP_LOW = 2 * REG.RSP;
const RIP_LOW = 2 * REG.RIP;

/** Registers that stay in hardware after an exit until somebody asks for them. */
const LAZY_REGISTERS = RIP_BIT | RSP_BIT | (1 << REG.RFLAGS) | (1 << REG.PDPTR) | (1 << REG.SEGMENTS) | (1 << REG.CR3);

export function vmxSaveHostState(vcpu: Vcpu): void {
  saveHostState(vcpu);
}

/** Enter the guest until its next exit. Makes no bigint but for a CR2 that changed. */
export function vmxVcpuRun(vcpu: Vcpu): void {
  const vmx = toVmx(vcpu);
  const { arch } = vcpu;
  const { vmcs, loadedVmcs, intel } = vmx;
  const cpu = vmcs.processor;
  const virtualNmis = hasVirtualNmis(intel.config);

  vmx.exitIntrInfo = 0;
  vmx.idtVectoringInfo = 0;
  if (!virtualNmis && vmx.softVnmiBlocked) vmx.entryTime = intel.host.clock.now();
  // The processor would refuse to enter; handle_exit emulates until it would not.
  if (vmx.emulationRequired) return;

  if (vmx.pleWindowDirty) {
    vmx.pleWindowDirty = false;
    if (intel.features.pleGap !== 0) vmcs.write32(VMCS.PLE_WINDOW, vmx.pleWindow);
  }
  const words = arch.regs.u32;
  if ((arch.regsDirty & RSP_BIT) !== 0) vmcs.writeWords(VMCS.GUEST_RSP, words[RSP_LOW] ?? 0, words[RSP_LOW + 1] ?? 0);
  if ((arch.regsDirty & RIP_BIT) !== 0) vmcs.writeWords(VMCS.GUEST_RIP, words[RIP_LOW] ?? 0, words[RIP_LOW + 1] ?? 0);
  // A debugger steps over STI and MOV SS too: with their shadow the entry would want a pending single-step trap.
  if ((arch.guestDebug & GUESTDBG.SINGLESTEP) !== 0) vmx.ops.set_interrupt_shadow(vcpu, 0);
  if (vmx.guestPkruValid) cpu.writePkru(vmx.guestPkru);
  armHvTimer(vmx);

  loadCr2(vmx, arch.cr2);
  cpu.gprs.set(vmx.gprWords);
  const status = loadedVmcs.launched ? cpu.vmresume() : cpu.vmlaunch();
  vmx.gprWords.set(cpu.gprs);
  if (saveCr2(vmx)) arch.cr2 = vmx.cr2;

  if (vmx.hostDebugctl !== 0n) cpu.wrmsr(MSR.IA32_DEBUGCTL, vmx.hostDebugctl);
  arch.regsAvail = ~LAZY_REGISTERS;
  arch.regsDirty = 0;
  if (intel.hostHasOspke) switchPkruBack(vmx);

  vmx.fail = status !== VM_SUCCEED;
  // No guest ran, and the exit fields are those of the exit before.
  if (vmx.fail) return;
  loadedVmcs.launched = true;
  const reason = vmcs.read32(VMCS.VM_EXIT_REASON);
  vmx.exitReason = reason;
  vmx.idtVectoringInfo = vmcs.read32(VMCS.IDT_VECTORING_INFO_FIELD);
  if (
    reason === EXIT_REASON.EXCEPTION_NMI ||
    reason === EXIT_REASON.EXTERNAL_INTERRUPT ||
    reason === EXIT_REASON.MCE_DURING_VMENTRY
  )
    vmx.exitIntrInfo = vmcs.read32(VMCS.VM_EXIT_INTR_INFO);

  if (vmx.exitIntrInfo !== 0) completeAtomicExit(vmx);
  recoverNmiBlocking(vmx, virtualNmis);
  completeInterrupts(vcpu, vmx.idtVectoringInfo, VMCS.VM_EXIT_INSTRUCTION_LEN, VMCS.IDT_VECTORING_ERROR_CODE);
}

function armHvTimer(vmx: VcpuVmx): void {
  if (vmx.hvDeadlineTsc === NO_DEADLINE) return;
  const delta = vmx.hvDeadlineTsc - vmx.vmcs.processor.tsc();
  // It fits 32 bits: set_hv_timer has seen to that.
  const ticks = delta > 0 ? Math.floor(delta / 2 ** vmx.intel.preemptionTimerShift) : 0;
  vmx.vmcs.write32(VMCS.VMX_PREEMPTION_TIMER_VALUE, ticks);
}

function loadCr2(vmx: VcpuVmx, value: bigint): void {
  if (value !== vmx.cr2) {
    vmx.cr2 = value;
    vmx.cr2Low = Number(value & 0xffffffffn);
    vmx.cr2High = Number(value >> 32n);
  }
  const { cr2 } = vmx.vmcs.processor;
  cr2[0] = vmx.cr2Low;
  cr2[1] = vmx.cr2High;
}

/** Take CR2 over from the processor; true when the guest has changed it. */
function saveCr2(vmx: VcpuVmx): boolean {
  const { cr2 } = vmx.vmcs.processor;
  const low = cr2[0] ?? 0;
  const high = cr2[1] ?? 0;
  if (low === vmx.cr2Low && high === vmx.cr2High) return false;
  vmx.cr2Low = low;
  vmx.cr2High = high;
  vmx.cr2 = (BigInt(high) << 32n) | BigInt(low);
  return true;
}

function switchPkruBack(vmx: VcpuVmx): void {
  const cpu = vmx.vmcs.processor;
  vmx.guestPkru = cpu.readPkru();
  vmx.guestPkruValid = vmx.guestPkru !== vmx.hostPkru;
  if (vmx.guestPkruValid) cpu.writePkru(vmx.hostPkru);
}

/** What the host has to see before its interrupts are on: machine checks and NMIs. */
function completeAtomicExit(vmx: VcpuVmx): void {
  const info = vmx.exitIntrInfo;
  if ((info & INTR_INFO.VALID) === 0) return;
  const type = (info & INTR_INFO.TYPE) >> INTR_INFO_TYPE_SHIFT;
  const vector = info & INTR_INFO.VECTOR;
  if (type === INTR_TYPE.HARD_EXCEPTION && vector === VECTOR.MC) vmx.kvm.hostInterrupt(VECTOR.MC);
  if (type === INTR_TYPE.NMI_INTR) vmx.kvm.hostInterrupt(VECTOR.NMI);
}

/** An IRET that faulted has unblocked NMIs already: block them again (SDM vol. 3, "Information for VM Exits Due to Vectored Events"). */
function recoverNmiBlocking(vmx: VcpuVmx, virtualNmis: boolean): void {
  if (!virtualNmis) {
    if (vmx.softVnmiBlocked) vmx.vnmiBlockedTime += vmx.intel.host.clock.now() - vmx.entryTime;
    return;
  }
  if (vmx.nmiKnownUnmasked) return;
  const info = vmx.exitIntrInfo;
  const vectoring = (vmx.idtVectoringInfo & INTR_INFO.VALID) !== 0;
  // The bit is undefined where the exit interrupted an event delivery, or is a double fault.
  if (
    (info & INTR_INFO.VALID) !== 0 &&
    (info & INTR_INFO.NMI_UNBLOCKING) !== 0 &&
    (info & INTR_INFO.VECTOR) !== VECTOR.DF &&
    !vectoring
  ) {
    vmx.vmcs.setBits(VMCS.GUEST_INTERRUPTIBILITY_INFO, INTERRUPTIBILITY.NMI);
  } else {
    vmx.nmiKnownUnmasked = (vmx.vmcs.read32(VMCS.GUEST_INTERRUPTIBILITY_INFO) & INTERRUPTIBILITY.NMI) === 0;
  }
}

export function vmxHandleExit(vcpu: Vcpu): boolean {
  return handleExit(vcpu);
}

/** RIP past the instruction that exited. Makes no bigint. */
export function skipEmulatedInstruction(vcpu: Vcpu): void {
  const vmx = toVmx(vcpu);
  const { arch } = vcpu;
  if ((arch.regsAvail & RIP_BIT) === 0) vmx.ops.cache_reg(vcpu, REG.RIP);
  const words = arch.regs.u32;
  const low = (words[RIP_LOW] ?? 0) + vmx.vmcs.read32(VMCS.VM_EXIT_INSTRUCTION_LEN);
  words[RIP_LOW] = low;
  // Outside 64-bit mode EIP wraps at 4 GiB, and VM entry refuses more.
  if (low > 0xffffffff) words[RIP_LOW + 1] = runs64BitCode(vcpu, vmx) ? (words[RIP_LOW + 1] ?? 0) + 1 : 0;
  arch.regsDirty |= RIP_BIT;
  // An instruction that is emulated counts for the shadow before it too.
  vmx.ops.set_interrupt_shadow(vcpu, 0);
  if ((vmx.vmcs.read32(VMCS.GUEST_RFLAGS) & TF) !== 0) trapSingleStep(vcpu, vmx);
}

/** The guest steps: the instruction that was emulated for it ends with a trap, as any other does. */
function trapSingleStep(vcpu: Vcpu, vmx: VcpuVmx): void {
  const { arch } = vcpu;
  // Not through a task switch, whose flags are the new task's; and a debugger that steps gets its trap from hardware.
  if (vmx.exitReason === EXIT_REASON.TASK_SWITCH || (arch.guestDebug & GUESTDBG.SINGLESTEP) !== 0) return;
  // Bits of DEBUGCTL: with BTF only branches trap.
  if ((vmx.vmcs.read32(VMCS.GUEST_IA32_DEBUGCTL) & BTF) !== 0) return;
  arch.dr6 |= DR6.BS | DR6.RTM;
  vmx.kvm.queueException(vcpu, VECTOR.DB);
}

function runs64BitCode(vcpu: Vcpu, vmx: VcpuVmx): boolean {
  return (
    (vmx.entryControls & VM_ENTRY.IA32E_MODE) !== 0 &&
    (vmx.segmentCache.rights(vmx.vmcs, vcpu.arch, SREG.CS) & SEGMENT_RIGHTS.L) !== 0
  );
}

export function vmxGetExitInfo(vcpu: Vcpu, info: ExitInfo): void {
  const { vmcs } = toVmx(vcpu);
  info.info1 = vmcs.read(VMCS.EXIT_QUALIFICATION);
  info.info2 = BigInt(vmcs.read32(VMCS.VM_EXIT_INTR_INFO));
}

/** The exit acknowledged a host interrupt: call its handler, as the processor would have. */
export function vmxHandleExternalIntr(vcpu: Vcpu): void {
  const vmx = toVmx(vcpu);
  const info = vmx.exitIntrInfo;
  if ((info & INTR_INFO.VALID) === 0) return;
  if ((info & INTR_INFO.TYPE) >> INTR_INFO_TYPE_SHIFT !== INTR_TYPE.EXT_INTR) return;
  vmx.kvm.hostInterrupt(info & INTR_INFO.VECTOR);
}
