import { DR6_FIXED_1, DR7_FIXED_1 } from "@tapvisor/x86-isa";
/** Indexes of `VcpuArch.regs`, in the encoding order of the general registers; then what is cached beside them. */
export const REG = {
  RAX: 0, RCX: 1, RDX: 2, RBX: 3, RSP: 4, RBP: 5, RSI: 6, RDI: 7,
  R8: 8, R9: 9, R10: 10, R11: 11, R12: 12, R13: 13, R14: 14, R15: 15,
  RIP: 16,
  /** Only bits of `regsAvail` and `regsDirty`: VCPU_EXREG_*. */
  PDPTR: 17, CR3: 18, RFLAGS: 19, SEGMENTS: 20,
} as const; // prettier-ignore

/** VCPU_SREG_*, in KVM's order. */
export const SREG = { ES: 0, CS: 1, SS: 2, DS: 3, FS: 4, GS: 5, TR: 6, LDTR: 7 } as const;
export type Sreg = (typeof SREG)[keyof typeof SREG];

/** The general registers and RIP, as 64-bit values and, for paths that must not make a bigint, as words. */
export class GuestRegisters {
  readonly u64 = new BigUint64Array(17);
  /** Low word of register r at `2 * r`, high word after it. */
  readonly u32 = new Uint32Array(this.u64.buffer);
}

/** struct kvm_segment. */
export interface Segment {
  base: bigint;
  limit: number;
  selector: number;
  type: number;
  present: boolean;
  dpl: number;
  db: boolean;
  /** Code or data (true), or a system segment. */
  s: boolean;
  l: boolean;
  g: boolean;
  avl: boolean;
  unusable: boolean;
}

/** struct desc_ptr: GDTR or IDTR. */
export interface DescriptorTable {
  size: number;
  address: bigint;
}

/** One access to an MSR: struct msr_data. A read fills `data`. */
export interface MsrAccess {
  index: number;
  data: bigint;
  /** By user space (KVM_GET_MSRS, KVM_SET_MSRS) rather than by the guest. */
  hostInitiated: boolean;
}

/** struct kvm_cpuid_entry2. */
export interface CpuidEntry {
  function: number;
  index: number;
  /** The subleaf is significant (KVM_CPUID_FLAG_SIGNIFCANT_INDEX). */
  significantIndex: boolean;
  eax: number;
  ebx: number;
  ecx: number;
  edx: number;
}

/** Bits of `VcpuArch.requests`: KVM_REQ_*. */
export const REQUEST = {
  TLB_FLUSH: 0, MMU_RELOAD: 1, PENDING_TIMER: 2, TRIPLE_FAULT: 6, EVENT: 7, DEACTIVATE_FPU: 8, NMI: 11,
  SCAN_IOAPIC: 15, APIC_PAGE_RELOAD: 16,
  /** Made by nobody yet. Of shadow paging: the guest's page tables changed. */
  MMU_SYNC: 4,
  /** Made by nobody yet. Of kvmclock: the guest's copy of the time is out of date. */
  CLOCK_UPDATE: 5, MASTERCLOCK_UPDATE: 14,
  /** Made by nobody yet. Of asynchronous page faults: the guest waits for a page. */
  APF_HALT: 9,
  /** Made by nobody yet. Of steal time: the guest's record of it is out of date. */
  STEAL_UPDATE: 10,
  /** Made by nobody yet. Of PMU events: counters to program anew, an interrupt to deliver. */
  PMU: 12, PMI: 13,
  /** Made by nobody yet. Of nested virtualization: exit at once after an entry. */
  IMMEDIATE_EXIT: 17,
  /** Made by nobody yet. Of KVM_TPR_ACCESS_REPORTING: user space patches a guest's accesses to the TPR. */
  REPORT_TPR_ACCESS: 18,
} as const; // prettier-ignore
export type Request = (typeof REQUEST)[keyof typeof REQUEST];

/** KVM_MP_STATE_*. */
export type MpState = "runnable" | "uninitialized" | "init_received" | "halted" | "sipi_received";

/** `switchDbRegs`: which debug registers must be loaded for the guest (KVM_DEBUGREG_*). */
export const DEBUGREG = { BP_ENABLED: 1, WONT_EXIT: 2, RELOAD: 4 } as const;

/** `guestDebug`: KVM_GUESTDBG_*. */
export const GUESTDBG = {
  ENABLE: 1, SINGLESTEP: 2, USE_SW_BP: 0x10000, USE_HW_BP: 0x20000, INJECT_DB: 0x40000, INJECT_BP: 0x80000,
} as const; // prettier-ignore

/** The second-stage page table of a vCPU: struct kvm_mmu, as far as a backend sees it. */
export interface MmuContext {
  /** Host physical address of the root table, or -1 when it has to be loaded. */
  rootHpa: number;
  /** Depth of the second-stage table. For nested virtualization and shadow paging, where it varies; nobody reads it yet. */
  shadowRootLevel: number;
  /** The guest's own four PDPTEs under PAE paging. */
  readonly pdptrs: BigUint64Array;
}

/** struct kvm_pmu, as far as it is shared between the generic layer and a backend. */
export interface PmuState {
  version: number;
  gpCounters: number;
  fixedCounters: number;
}

/**
 * Generic per-vCPU state: struct kvm_vcpu_arch. Backends read and write it as vmx.c does; a field that a comment
 * calls cached is valid only while its bit in `regsAvail` is set.
 */
export class VcpuArch {
  readonly regs = new GuestRegisters();
  /** Bitmap over REG: the copy in memory is current. */
  regsAvail = 0;
  /** Bitmap over REG: the copy in memory must be written to hardware before entry. */
  regsDirty = 0;

  cr0 = 0n;
  cr0GuestOwnedBits = 0n;
  cr2 = 0n;
  /** Cached. */
  cr3 = 0n;
  cr4 = 0n;
  cr4GuestOwnedBits = 0n;
  cr8 = 0n;
  efer = 0n;
  /** HF_*: NMI, SMM, guest (nested) mode. */
  hflags = 0;
  apicBase = 0n;
  apicvActive = false;
  mpState: MpState = "runnable";

  readonly exception = { pending: false, hasErrorCode: false, reinject: false, nr: 0, errorCode: 0 };
  readonly interrupt = { pending: false, soft: false, nr: 0 };
  /** Instruction length of the soft event in `interrupt` or `exception`. */
  eventExitInstLen = 0;
  nmiPending = 0;
  nmiInjected = false;

  maxPhysAddrBits = 36;

  readonly mmu: MmuContext = { rootHpa: -1, shadowRootLevel: 4, pdptrs: new BigUint64Array(4) };

  /** DR0-3 as the guest wrote them, and as they are in effect (a debugger may own them). */
  readonly db = new BigUint64Array(4);
  readonly effDb = new BigUint64Array(4);
  dr6: bigint = DR6_FIXED_1;
  dr7: bigint = DR7_FIXED_1;
  guestDebugDr7 = 0n;
  switchDbRegs = 0;
  guestDebug = 0;
  singlestepRip = 0n;

  /** TSC offset of the guest, modulo 2^64. */
  tscOffset = 0n;
  virtualTscKhz = 0;
  tscAdjust = 0n;

  /** MSRs that the core keeps for the guest, by index: what was written since power-on. */
  readonly msrs = new Map<number, bigint>();
  /** IA32_MCG_CAP. */
  mcgCap = 0n;

  fpuActive = false;
  /** The guest's FPU image in FXSAVE format while the host's is loaded. */
  readonly guestFpu = new Uint8Array(4096);
  guestFpuLoaded = false;
  xcr0 = 1n;
  guestSupportedXcr0 = 1n;
  xss = 0n;

  readonly pmu: PmuState = { version: 0, gpCounters: 0, fixedCounters: 0 };

  /** Bitmap over REQUEST. */
  requests = 0;
}

/** Bits of the interrupt shadow: KVM_X86_SHADOW_INT_*. */
export const INTERRUPT_SHADOW = { MOV_SS: 1, STI: 2 } as const;

/** What `get_cs_db_l_bits` fills in: default operand size and 64-bit mode of CS. */
export interface CsBits {
  db: boolean;
  l: boolean;
}

/**
 * What `get_exit_info` fills in: on VT-x the exit qualification and the exit interruption information. Read once exits
 * are traced (4.9: the tracepoint kvm_exit).
 */
export interface ExitInfo {
  info1: bigint;
  info2: bigint;
}
