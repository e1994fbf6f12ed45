/** RFLAGS (SDM vol. 1, "EFLAGS Register"; vol. 3, "System Flags and Fields in the EFLAGS Register"). */
export const RFLAGS = {
  CF: 1n << 0n,
  /** Reads as 1. */
  FIXED: 1n << 1n,
  PF: 1n << 2n,
  AF: 1n << 4n,
  ZF: 1n << 6n,
  SF: 1n << 7n,
  TF: 1n << 8n,
  IF: 1n << 9n,
  DF: 1n << 10n,
  OF: 1n << 11n,
  IOPL: 3n << 12n,
  NT: 1n << 14n,
  RF: 1n << 16n,
  VM: 1n << 17n,
  AC: 1n << 18n,
  VIF: 1n << 19n,
  VIP: 1n << 20n,
  ID: 1n << 21n,
} as const;

/** Shift of the two-bit I/O privilege level in RFLAGS. */
export const RFLAGS_IOPL_SHIFT = 12n;

/** CR0 (SDM vol. 3, "Control Registers"). */
export const CR0 = {
  PE: 1n << 0n,
  MP: 1n << 1n,
  EM: 1n << 2n,
  TS: 1n << 3n,
  ET: 1n << 4n,
  NE: 1n << 5n,
  WP: 1n << 16n,
  AM: 1n << 18n,
  NW: 1n << 29n,
  CD: 1n << 30n,
  PG: 1n << 31n,
} as const;

/** CR3 (SDM vol. 3, "Control Registers"; "Paging"). */
export const CR3 = {
  PWT: 1n << 3n,
  PCD: 1n << 4n,
  /** Process-context identifier, with CR4.PCIDE. */
  PCID: 0xfffn,
  /** In the source of MOV to CR3 with CR4.PCIDE: keep the translations of the new PCID. */
  NO_FLUSH: 1n << 63n,
} as const;

/** CR4 (SDM vol. 3, "Control Registers"). */
export const CR4 = {
  VME: 1n << 0n,
  PVI: 1n << 1n,
  TSD: 1n << 2n,
  DE: 1n << 3n,
  PSE: 1n << 4n,
  PAE: 1n << 5n,
  MCE: 1n << 6n,
  PGE: 1n << 7n,
  PCE: 1n << 8n,
  OSFXSR: 1n << 9n,
  OSXMMEXCPT: 1n << 10n,
  UMIP: 1n << 11n,
  LA57: 1n << 12n,
  VMXE: 1n << 13n,
  SMXE: 1n << 14n,
  FSGSBASE: 1n << 16n,
  PCIDE: 1n << 17n,
  OSXSAVE: 1n << 18n,
  KL: 1n << 19n,
  SMEP: 1n << 20n,
  SMAP: 1n << 21n,
  PKE: 1n << 22n,
  CET: 1n << 23n,
  PKS: 1n << 24n,
  UINTR: 1n << 25n,
} as const;

/** IA32_EFER (SDM vol. 3, "Extended Feature Enable Register"; bits 12 to 15 are AMD's). */
export const EFER = {
  SCE: 1n << 0n,
  LME: 1n << 8n,
  LMA: 1n << 10n,
  NXE: 1n << 11n,
  SVME: 1n << 12n,
  LMSLE: 1n << 13n,
  FFXSR: 1n << 14n,
  TCE: 1n << 15n,
} as const;

/** DR6 (SDM vol. 3, "Debug Status Register"). */
export const DR6 = {
  B0: 1n << 0n,
  B1: 1n << 1n,
  B2: 1n << 2n,
  B3: 1n << 3n,
  BLD: 1n << 11n,
  BD: 1n << 13n,
  BS: 1n << 14n,
  BT: 1n << 15n,
  RTM: 1n << 16n,
} as const;
/** The breakpoint conditions of DR6, which a #DB overwrites; the others are sticky. */
export const DR6_BREAKPOINTS = DR6.B0 | DR6.B1 | DR6.B2 | DR6.B3;

/** Bits of DR6 that read as 1 (RTM and BLD with their polarity included: clear means the event happened). */
export const DR6_FIXED_1 = 0xffff0ff0n;
/** Bits of DR6 that MOV to DR6 can change without RTM and bus-lock detection. */
export const DR6_VOLATILE = 0xe00fn;

/** DR7 (SDM vol. 3, "Debug Control Register"). LE and L0 to L3 end with the task that set them. */
export const DR7_LOCAL = 0x155n;
export const DR7 = {
  L0: 1n << 0n,
  G0: 1n << 1n,
  L1: 1n << 2n,
  G1: 1n << 3n,
  L2: 1n << 4n,
  G2: 1n << 5n,
  L3: 1n << 6n,
  G3: 1n << 7n,
  LE: 1n << 8n,
  GE: 1n << 9n,
  /** Bit 10 reads as 1. */
  FIXED: 1n << 10n,
  RTM: 1n << 11n,
  GD: 1n << 13n,
} as const;

/** The enables of the four breakpoints in DR7, local and global. */
export const DR7_ENABLES = 0xffn;
/** Value of DR7 after reset. */
export const DR7_FIXED_1 = 0x400n;
/** Bits of DR7 that MOV to DR7 can change without RTM. */
export const DR7_VOLATILE = 0xffff23ffn;

/** XCR0 (SDM vol. 1, "Managing State Using the XSAVE Feature Set"). */
export const XCR0 = {
  X87: 1n << 0n,
  SSE: 1n << 1n,
  AVX: 1n << 2n,
  BNDREGS: 1n << 3n,
  BNDCSR: 1n << 4n,
  OPMASK: 1n << 5n,
  ZMM_HI256: 1n << 6n,
  HI16_ZMM: 1n << 7n,
  PT: 1n << 8n,
  PKRU: 1n << 9n,
} as const;

/** IA32_APIC_BASE (SDM vol. 3, "Local APIC Status and Location"; "x2APIC State Transitions"). */
export const APIC_BASE = {
  BSP: 1n << 8n,
  X2APIC_ENABLE: 1n << 10n,
  ENABLE: 1n << 11n,
} as const;

/** Physical address of the local APIC after reset; Linux's name. */
export const APIC_DEFAULT_PHYS_BASE = 0xfee0_0000;

/** IA32_DEBUGCTL (SDM vol. 3, "IA32_DEBUGCTL MSR"). */
export const DEBUGCTL = {
  LBR: 1n << 0n,
  BTF: 1n << 1n,
  TR: 1n << 6n,
  BTS: 1n << 7n,
  BTINT: 1n << 8n,
  BTS_OFF_OS: 1n << 9n,
  BTS_OFF_USR: 1n << 10n,
  FREEZE_LBRS_ON_PMI: 1n << 11n,
  FREEZE_PERFMON_ON_PMI: 1n << 12n,
  FREEZE_WHILE_SMM: 1n << 14n,
  RTM_DEBUG: 1n << 15n,
} as const;

/** IA32_FEATURE_CONTROL (SDM vol. 3, "Enabling and Entering VMX Operation"). */
export const FEATURE_CONTROL = {
  LOCKED: 1n << 0n,
  VMXON_ENABLED_INSIDE_SMX: 1n << 1n,
  VMXON_ENABLED_OUTSIDE_SMX: 1n << 2n,
  LMCE: 1n << 20n,
} as const;

/** IA32_MISC_ENABLE (SDM vol. 4, "Architectural MSRs"). */
export const MISC_ENABLE = {
  FAST_STRING: 1n << 0n,
  TCC: 1n << 3n,
  EMON: 1n << 7n,
  BTS_UNAVAIL: 1n << 11n,
  PEBS_UNAVAIL: 1n << 12n,
  ENHANCED_SPEEDSTEP: 1n << 16n,
  MWAIT: 1n << 18n,
  LIMIT_CPUID: 1n << 22n,
  XTPR_DISABLE: 1n << 23n,
  XD_DISABLE: 1n << 34n,
} as const;

/** Error code of a page fault (SDM vol. 3, "Page-Fault Exceptions"). */
export const PAGE_FAULT = {
  P: 1 << 0,
  W: 1 << 1,
  U: 1 << 2,
  RSVD: 1 << 3,
  I: 1 << 4,
  PK: 1 << 5,
  SS: 1 << 6,
  SGX: 1 << 15,
} as const;
