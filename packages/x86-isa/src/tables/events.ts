/**
 * Format of the VM-entry and VM-exit interruption-information and the IDT-vectoring information fields (SDM vol. 3,
 * "VM-Entry Controls for Event Injection", "Information for VM Exits Due to Vectored Events").
 */
export const INTR_INFO = {
  VECTOR: 0xff,
  TYPE: 7 << 8,
  DELIVER_CODE: 1 << 11,
  /** Of the exit field: NMI unblocking due to IRET. */
  NMI_UNBLOCKING: 1 << 12,
  VALID: 0x80000000,
} as const;
export const INTR_INFO_TYPE_SHIFT = 8;
/** Bits of the VM-entry field that must be 0. */
export const INTR_INFO_RESERVED = 0x7ffff000;

/** Values of bits 10:8 of those fields. */
export const INTR_TYPE = {
  EXT_INTR: 0,
  NMI_INTR: 2,
  HARD_EXCEPTION: 3,
  SOFT_INTR: 4,
  /** INT1. */
  PRIV_SW_EXCEPTION: 5,
  /** INT3 and INTO. */
  SOFT_EXCEPTION: 6,
  OTHER_EVENT: 7,
} as const;
export type InterruptionType = (typeof INTR_TYPE)[keyof typeof INTR_TYPE];

/** The interruptibility state (SDM vol. 3, "Guest Non-Register State"). */
export const INTERRUPTIBILITY = {
  STI: 1 << 0,
  MOV_SS: 1 << 1,
  SMI: 1 << 2,
  NMI: 1 << 3,
  ENCLAVE_INTERRUPTION: 1 << 4,
} as const;

/** Blocking of interrupts for one instruction, by STI or by a load of SS. */
export const INTERRUPT_SHADOW = INTERRUPTIBILITY.STI | INTERRUPTIBILITY.MOV_SS;

/** The activity state. */
export const ACTIVITY = { ACTIVE: 0, HLT: 1, SHUTDOWN: 2, WAIT_SIPI: 3 } as const;
export type ActivityState = (typeof ACTIVITY)[keyof typeof ACTIVITY];

/** Pending debug exceptions (SDM vol. 3, "Guest Non-Register State"). */
export const PENDING_DEBUG = {
  B0: 1n << 0n,
  B1: 1n << 1n,
  B2: 1n << 2n,
  B3: 1n << 3n,
  ENABLED_BREAKPOINT: 1n << 12n,
  BS: 1n << 14n,
  RTM: 1n << 16n,
} as const;
/** The conditions that lie where DR6 has them. */
export const PENDING_DEBUG_CONDITIONS =
  PENDING_DEBUG.B0 | PENDING_DEBUG.B1 | PENDING_DEBUG.B2 | PENDING_DEBUG.B3 | PENDING_DEBUG.BS;

/** Exit qualification of a control-register access (SDM vol. 3, "Exit Qualification"). */
export const CR_ACCESS_TYPE = { MOV_TO_CR: 0, MOV_FROM_CR: 1, CLTS: 2, LMSW: 3 } as const;

/** Exit qualification of an I/O instruction. */
export const IO_QUALIFICATION = {
  SIZE: 7,
  IN: 1 << 3,
  STRING: 1 << 4,
  REP: 1 << 5,
  IMMEDIATE: 1 << 6,
} as const;
export const IO_QUALIFICATION_PORT_SHIFT = 16;

/** Exit qualification of a task switch, bits 31:30. */
export const TASK_SWITCH_SOURCE = { CALL: 0, IRET: 1, JMP: 2, GATE: 3 } as const;
