import {
  CPU_BASED,
  CPU_BASED_DEFAULT1,
  PIN_BASED,
  PIN_BASED_DEFAULT1,
  SECONDARY_EXEC,
  VM_ENTRY,
  VM_ENTRY_DEFAULT1,
  VM_EXIT,
  VM_EXIT_DEFAULT1,
} from "@tapvisor/x86-isa";
import type { VmxFeature } from "../profiles/profile.js";

/** The five 32-bit fields of controls. */
export type ControlGroup = "pin" | "primary" | "secondary" | "exit" | "entry";

const PIN = PIN_BASED;
const PRIMARY = CPU_BASED;
const SECONDARY = SECONDARY_EXEC;

/** Every control that the processor implements. What is not here, no profile offers. */
export const IMPLEMENTED_CONTROLS: Readonly<Record<ControlGroup, number>> = {
  pin: PIN.EXT_INTR_EXITING | PIN.NMI_EXITING | PIN.VIRTUAL_NMIS | PIN.VMX_PREEMPTION_TIMER,
  primary:
    PRIMARY.INTERRUPT_WINDOW_EXITING |
    PRIMARY.USE_TSC_OFFSETTING |
    PRIMARY.HLT_EXITING |
    PRIMARY.INVLPG_EXITING |
    PRIMARY.MWAIT_EXITING |
    PRIMARY.RDPMC_EXITING |
    PRIMARY.RDTSC_EXITING |
    PRIMARY.CR3_LOAD_EXITING |
    PRIMARY.CR3_STORE_EXITING |
    PRIMARY.CR8_LOAD_EXITING |
    PRIMARY.CR8_STORE_EXITING |
    PRIMARY.NMI_WINDOW_EXITING |
    PRIMARY.MOV_DR_EXITING |
    PRIMARY.UNCOND_IO_EXITING |
    PRIMARY.USE_IO_BITMAPS |
    PRIMARY.MONITOR_TRAP_FLAG |
    PRIMARY.USE_MSR_BITMAPS |
    PRIMARY.MONITOR_EXITING |
    PRIMARY.PAUSE_EXITING |
    PRIMARY.ACTIVATE_SECONDARY_CONTROLS,
  secondary:
    SECONDARY.ENABLE_EPT |
    SECONDARY.DESC |
    SECONDARY.RDTSCP |
    SECONDARY.ENABLE_VPID |
    SECONDARY.WBINVD_EXITING |
    SECONDARY.UNRESTRICTED_GUEST |
    SECONDARY.PAUSE_LOOP_EXITING |
    SECONDARY.RDRAND_EXITING |
    SECONDARY.ENABLE_INVPCID |
    SECONDARY.RDSEED_EXITING,
  exit:
    VM_EXIT.SAVE_DEBUG_CONTROLS |
    VM_EXIT.HOST_ADDR_SPACE_SIZE |
    VM_EXIT.ACK_INTR_ON_EXIT |
    VM_EXIT.SAVE_IA32_PAT |
    VM_EXIT.LOAD_IA32_PAT |
    VM_EXIT.SAVE_IA32_EFER |
    VM_EXIT.LOAD_IA32_EFER |
    VM_EXIT.SAVE_VMX_PREEMPTION_TIMER,
  entry: VM_ENTRY.LOAD_DEBUG_CONTROLS | VM_ENTRY.IA32E_MODE | VM_ENTRY.LOAD_IA32_PAT | VM_ENTRY.LOAD_IA32_EFER,
};

/** Controls that go with a feature which a profile may lack. */
export const FEATURE_CONTROLS: Readonly<Record<VmxFeature, Partial<Record<ControlGroup, number>>>> = {
  // Unrestricted guest needs EPT (SDM vol. 3, "VM-Execution Control Fields").
  ept: { secondary: SECONDARY.ENABLE_EPT | SECONDARY.UNRESTRICTED_GUEST },
  unrestrictedGuest: { secondary: SECONDARY.UNRESTRICTED_GUEST },
  vpid: { secondary: SECONDARY.ENABLE_VPID },
  preemptionTimer: { pin: PIN.VMX_PREEMPTION_TIMER, exit: VM_EXIT.SAVE_VMX_PREEMPTION_TIMER },
  virtualNmis: { pin: PIN.VIRTUAL_NMIS, primary: PRIMARY.NMI_WINDOW_EXITING },
  msrBitmaps: { primary: PRIMARY.USE_MSR_BITMAPS },
  secondaryControls: { primary: PRIMARY.ACTIVATE_SECONDARY_CONTROLS },
  pauseLoopExiting: { secondary: SECONDARY.PAUSE_LOOP_EXITING },
  loadEfer: { exit: VM_EXIT.SAVE_IA32_EFER | VM_EXIT.LOAD_IA32_EFER, entry: VM_ENTRY.LOAD_IA32_EFER },
  trueControls: {},
  eptAccessedDirty: {},
  eptExecuteOnly: {},
  ept2MbPage: {},
  ept1GbPage: {},
  invept: {},
  invvpid: {},
};

/** The default1 class of each group (SDM vol. 3, appendix "VMX Capability Reporting Facility"). */
export const DEFAULT1_CONTROLS: Readonly<Record<ControlGroup, number>> = {
  pin: PIN_BASED_DEFAULT1,
  primary: CPU_BASED_DEFAULT1,
  secondary: 0,
  exit: VM_EXIT_DEFAULT1,
  entry: VM_ENTRY_DEFAULT1,
};

/** What of the default1 class may be 0 where the TRUE capability MSRs exist. */
export const MAY_BE_ZERO_CONTROLS: Readonly<Record<ControlGroup, number>> = {
  pin: 0,
  primary: PRIMARY.CR3_LOAD_EXITING | PRIMARY.CR3_STORE_EXITING,
  secondary: 0,
  exit: VM_EXIT.SAVE_DEBUG_CONTROLS,
  entry: VM_ENTRY.LOAD_DEBUG_CONTROLS,
};
