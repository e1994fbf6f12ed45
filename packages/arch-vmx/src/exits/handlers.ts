import type { Vcpu } from "@tapvisor/kvm-core/contract";
import { EXIT_REASON } from "@tapvisor/x86-isa";
import { handleApicAccess, handleTprBelowThreshold } from "./apic.js";
import { handleCr } from "./control-register.js";
import { handleDr } from "./debug-register.js";
import { handleEptMisconfig, handleEptViolation } from "./ept.js";
import { handleException, handleMachineCheck, handleTripleFault } from "./exception.js";
import {
  handleCpuid, handleDescriptorTable, handleHalt, handleInvd, handleInvlpg, handleMonitor, handleMonitorTrap,
  handleMwait, handlePause, handleRdpmc, handleVmcall, handleVmxInstruction, handleWbinvd, handleXsaves, handleXsetbv,
} from "./instruction.js"; // prettier-ignore
import { handleIo } from "./io.js";
import { handleRdmsr, handleWrmsr } from "./msr.js";
import { handleTaskSwitch } from "./task-switch.js";
import {
  handleExternalInterrupt, handleInterruptWindow, handleNmiWindow, handlePreemptionTimer,
} from "./windows.js"; // prettier-ignore

/** Answers as `handle_exit` does: true stays in the run loop. */
export type ExitHandler = (vcpu: Vcpu) => boolean;

/** A handler for each basic exit reason that the controls in use can produce, by EXIT_REASON. */
export const EXIT_HANDLERS: readonly (ExitHandler | undefined)[] = tableOf({
  EXCEPTION_NMI: handleException,
  EXTERNAL_INTERRUPT: handleExternalInterrupt,
  TRIPLE_FAULT: handleTripleFault,
  INTERRUPT_WINDOW: handleInterruptWindow,
  NMI_WINDOW: handleNmiWindow,
  TASK_SWITCH: handleTaskSwitch,
  CPUID: handleCpuid,
  HLT: handleHalt,
  INVD: handleInvd,
  INVLPG: handleInvlpg,
  RDPMC: handleRdpmc,
  VMCALL: handleVmcall,
  VMCLEAR: handleVmxInstruction,
  VMLAUNCH: handleVmxInstruction,
  VMPTRLD: handleVmxInstruction,
  VMPTRST: handleVmxInstruction,
  VMREAD: handleVmxInstruction,
  VMRESUME: handleVmxInstruction,
  VMWRITE: handleVmxInstruction,
  VMXOFF: handleVmxInstruction,
  VMXON: handleVmxInstruction,
  INVEPT: handleVmxInstruction,
  INVVPID: handleVmxInstruction,
  CR_ACCESS: handleCr,
  DR_ACCESS: handleDr,
  IO_INSTRUCTION: handleIo,
  MSR_READ: handleRdmsr,
  MSR_WRITE: handleWrmsr,
  MWAIT_INSTRUCTION: handleMwait,
  MONITOR_TRAP_FLAG: handleMonitorTrap,
  MONITOR_INSTRUCTION: handleMonitor,
  PAUSE_INSTRUCTION: handlePause,
  MCE_DURING_VMENTRY: handleMachineCheck,
  TPR_BELOW_THRESHOLD: handleTprBelowThreshold,
  APIC_ACCESS: handleApicAccess,
  GDTR_IDTR: handleDescriptorTable,
  LDTR_TR: handleDescriptorTable,
  EPT_VIOLATION: handleEptViolation,
  EPT_MISCONFIG: handleEptMisconfig,
  PREEMPTION_TIMER: handlePreemptionTimer,
  WBINVD: handleWbinvd,
  XSETBV: handleXsetbv,
  XSAVES: handleXsaves,
  XRSTORS: handleXsaves,
});

function tableOf(handlers: { readonly [N in keyof typeof EXIT_REASON]?: ExitHandler }): (ExitHandler | undefined)[] {
  const size = Math.max(...Object.values(EXIT_REASON)) + 1;
  const table = new Array<ExitHandler | undefined>(size).fill(undefined);
  for (const [name, handler] of Object.entries(handlers)) table[EXIT_REASON[name as keyof typeof handlers]] = handler;
  return table;
}
