import {
  ACTIVITY,
  CR0,
  CR4,
  DEBUGCTL,
  EFER,
  INTERRUPTIBILITY,
  INTERRUPT_SHADOW,
  INTR_INFO,
  INTR_TYPE,
  PENDING_DEBUG,
  PIN_BASED,
  RFLAGS,
  SEGMENT_RIGHTS,
  VECTOR,
  VM_ENTRY,
} from "@tapvisor/x86-isa";
import { TWO_32 } from "../../words.js";
import { interruptionType } from "../event-information.js";
import { F } from "../fields.js";
import { FIELD_KIND } from "../vmcs-layout.js";
import type { Checked, EntryCheck } from "./checked.js";
import { fixedBitsViolated } from "./fixed-bits.js";
import { SEGMENT_CHECKS } from "./guest-segments.js";

const { CONTROL, GUEST, EVENT, FLAGS, FLOW } = FIELD_KIND;

/** Exit qualification of an entry that fails for guest state (SDM vol. 3, "VM-Entry Failures During or After Loading Guest State"). */
const ENTRY_FAILURE_QUALIFICATION = { PDPTE: 2, NMI_INJECTION: 3, LINK_POINTER: 4 } as const;

const REGISTERS = "Checks on Guest Control Registers, Debug Registers, and MSRs";
const TABLES = "Checks on Guest Descriptor-Table Registers";
const FLOW_REGISTERS = "Checks on Guest RIP, RFLAGS, and SSP";
const NON_REGISTER = "Checks on Guest Non-Register State";

const low = (bit: bigint): number => Number(bit);
const CR0_PE_PG = CR0.PE | CR0.PG;
const LMA = low(EFER.LMA);
const LME = low(EFER.LME);
const RFLAGS_RESERVED = 0xffc08028;
const RFLAGS_FIXED = low(RFLAGS.FIXED);
const RFLAGS_TF = low(RFLAGS.TF);
const RFLAGS_IF = low(RFLAGS.IF);
const PENDING_BS = low(PENDING_DEBUG.BS);
/** Bits of pending debug exceptions that are always clear on a processor without RTM: 11:4, 13, 15, 31:16. */
const PENDING_RESERVED = 0xffffaff0;
const INTERRUPTIBILITY_RESERVED = 0xffffffe0;
/** IA32_DEBUGCTL bits of the architecture. */
const DEBUGCTL_SUPPORTED = low(
  DEBUGCTL.LBR | DEBUGCTL.BTF | DEBUGCTL.TR | DEBUGCTL.BTS | DEBUGCTL.BTINT | DEBUGCTL.BTS_OFF_OS |
    DEBUGCTL.BTS_OFF_USR | DEBUGCTL.FREEZE_LBRS_ON_PMI | DEBUGCTL.FREEZE_PERFMON_ON_PMI | DEBUGCTL.FREEZE_WHILE_SMM,
); // prettier-ignore

const loads = (c: Checked, control: number): boolean => (c.entry & control) !== 0;
const interruptibility = (c: Checked): number => c.low(F.GUEST_INTERRUPTIBILITY_INFO);
const activity = (c: Checked): number => c.low(F.GUEST_ACTIVITY_STATE);
const shadow = (c: Checked): boolean => (interruptibility(c) & INTERRUPT_SHADOW) !== 0;
const injects = (c: Checked, type: number): boolean => c.injecting && interruptionType(c.event) === type;
const linked = (c: Checked): boolean =>
  c.low(F.VMCS_LINK_POINTER) !== 0xffffffff || c.high(F.VMCS_LINK_POINTER) !== 0xffffffff;
const long64 = (c: Checked): boolean => c.ia32e && (c.low(F.GUEST_CS_AR_BYTES) & SEGMENT_RIGHTS.L) !== 0;

const registers: readonly EntryCheck[] = [
  {
    section: REGISTERS,
    rule: "CR0 has no bit that VMX operation forbids; PE and PG are free in an unrestricted guest",
    reads: GUEST | CONTROL,
    violated: (c) => {
      const { cr0Fixed0, cr0Fixed1 } = c.capabilities;
      return fixedBitsViolated(c, F.GUEST_CR0, c.unrestricted ? cr0Fixed0 & ~CR0_PE_PG : cr0Fixed0, cr0Fixed1);
    },
  },
  {
    section: REGISTERS,
    rule: "paging needs protection",
    reads: GUEST,
    violated: (c) => c.paging && !c.protectedMode,
  },
  {
    section: REGISTERS,
    rule: "CR4 has no bit that VMX operation forbids",
    reads: GUEST,
    violated: (c) => fixedBitsViolated(c, F.GUEST_CR4, c.capabilities.cr4Fixed0, c.capabilities.cr4Fixed1),
  },
  {
    section: REGISTERS,
    rule: "reserved bits of IA32_DEBUGCTL, if loaded, are clear",
    reads: GUEST | CONTROL,
    violated: (c) =>
      loads(c, VM_ENTRY.LOAD_DEBUG_CONTROLS) &&
      ((c.low(F.GUEST_IA32_DEBUGCTL) & ~DEBUGCTL_SUPPORTED) !== 0 || c.high(F.GUEST_IA32_DEBUGCTL) !== 0),
  },
  {
    section: REGISTERS,
    rule: "an IA-32e mode guest has paging and PAE",
    reads: GUEST | CONTROL,
    violated: (c) => c.ia32e && (!c.paging || (c.low(F.GUEST_CR4) & low(CR4.PAE)) === 0),
  },
  {
    section: REGISTERS,
    rule: "CR4.PCIDE is clear outside IA-32e mode",
    reads: GUEST | CONTROL,
    violated: (c) => !c.ia32e && (c.low(F.GUEST_CR4) & low(CR4.PCIDE)) !== 0,
  },
  {
    section: REGISTERS,
    rule: "CR3 is within the physical-address width",
    reads: GUEST,
    violated: (c) => c.pastPhysical(F.GUEST_CR3),
  },
  {
    section: REGISTERS,
    rule: "DR7, if loaded, has 32 bits",
    reads: GUEST | CONTROL,
    violated: (c) => loads(c, VM_ENTRY.LOAD_DEBUG_CONTROLS) && c.high(F.GUEST_DR7) !== 0,
  },
  {
    section: REGISTERS,
    rule: "IA32_SYSENTER_ESP is canonical",
    reads: GUEST,
    violated: (c) => c.notCanonical(F.GUEST_SYSENTER_ESP),
  },
  {
    section: REGISTERS,
    rule: "IA32_SYSENTER_EIP is canonical",
    reads: GUEST,
    violated: (c) => c.notCanonical(F.GUEST_SYSENTER_EIP),
  },
  {
    section: REGISTERS,
    rule: "IA32_PAT, if loaded, holds memory types alone",
    reads: GUEST | CONTROL,
    violated: (c) => loads(c, VM_ENTRY.LOAD_IA32_PAT) && c.badPat(F.GUEST_IA32_PAT),
  },
  {
    section: REGISTERS,
    rule: "IA32_EFER, if loaded, has no reserved bit",
    reads: GUEST | CONTROL,
    violated: (c) =>
      loads(c, VM_ENTRY.LOAD_IA32_EFER) &&
      ((c.low(F.GUEST_IA32_EFER) & ~c.environment.eferSupported) !== 0 || c.high(F.GUEST_IA32_EFER) !== 0),
  },
  {
    section: REGISTERS,
    rule: "LMA of IA32_EFER, if loaded, equals the control IA-32e mode guest",
    reads: GUEST | CONTROL,
    violated: (c) => loads(c, VM_ENTRY.LOAD_IA32_EFER) && ((c.low(F.GUEST_IA32_EFER) & LMA) !== 0) !== c.ia32e,
  },
  {
    section: REGISTERS,
    rule: "LMA and LME of IA32_EFER, if loaded, are equal in a guest with paging",
    reads: GUEST | CONTROL,
    violated: (c) =>
      loads(c, VM_ENTRY.LOAD_IA32_EFER) &&
      c.paging &&
      ((c.low(F.GUEST_IA32_EFER) & LMA) !== 0) !== ((c.low(F.GUEST_IA32_EFER) & LME) !== 0),
  },
];

const tables: readonly EntryCheck[] = (["GDTR", "IDTR"] as const).flatMap((name): EntryCheck[] => [
  {
    section: TABLES,
    rule: `the base of ${name} is canonical`,
    reads: GUEST,
    violated: (c) => c.notCanonical(F[`GUEST_${name}_BASE`]),
  },
  {
    section: TABLES,
    rule: `the limit of ${name} has 16 bits`,
    reads: GUEST,
    violated: (c) => c.low(F[`GUEST_${name}_LIMIT`]) >>> 16 !== 0,
  },
]);

const flow: readonly EntryCheck[] = [
  {
    section: FLOW_REGISTERS,
    rule: "RIP has 32 bits outside 64-bit code",
    reads: FLOW | GUEST | CONTROL,
    violated: (c) => !long64(c) && c.high(F.GUEST_RIP) !== 0,
  },
  {
    section: FLOW_REGISTERS,
    rule: "bits of RIP past the linear-address width are alike in 64-bit code",
    reads: FLOW | GUEST | CONTROL,
    // Less than canonical: the bit below them may differ, and the first fetch then raises #GP.
    violated: (c) => long64(c) && c.unlikePastLinear(F.GUEST_RIP),
  },
  {
    section: FLOW_REGISTERS,
    rule: "reserved bits of RFLAGS are clear, and bit 1 is set",
    reads: FLAGS,
    violated: (c) => {
      const flags = c.low(F.GUEST_RFLAGS);
      return (flags & RFLAGS_RESERVED) !== 0 || (flags & RFLAGS_FIXED) === 0 || c.high(F.GUEST_RFLAGS) !== 0;
    },
  },
  {
    section: FLOW_REGISTERS,
    rule: "virtual-8086 mode needs protected mode outside IA-32e mode",
    reads: FLAGS | GUEST | CONTROL,
    violated: (c) => c.v86 && (c.ia32e || !c.protectedMode),
  },
  {
    section: FLOW_REGISTERS,
    rule: "an external interrupt is injected only with RFLAGS.IF",
    reads: FLAGS | EVENT,
    violated: (c) => injects(c, INTR_TYPE.EXT_INTR) && (c.low(F.GUEST_RFLAGS) & RFLAGS_IF) === 0,
  },
];

/** What may be injected into a guest that is not active. */
function allowedInactive(c: Checked): boolean {
  const type = interruptionType(c.event);
  const vector = c.event & INTR_INFO.VECTOR;
  switch (activity(c)) {
    case ACTIVITY.HLT:
      return (
        type === INTR_TYPE.EXT_INTR ||
        type === INTR_TYPE.NMI_INTR ||
        (type === INTR_TYPE.HARD_EXCEPTION && (vector === VECTOR.DB || vector === VECTOR.MC)) ||
        type === INTR_TYPE.OTHER_EVENT
      );
    case ACTIVITY.SHUTDOWN:
      return type === INTR_TYPE.NMI_INTR || (type === INTR_TYPE.HARD_EXCEPTION && vector === VECTOR.MC);
    default:
      return false;
  }
}

const nonRegister: readonly EntryCheck[] = [
  {
    section: NON_REGISTER,
    rule: "the activity state exists",
    reads: FLOW,
    violated: (c) => activity(c) > ACTIVITY.WAIT_SIPI,
  },
  {
    section: NON_REGISTER,
    rule: "a guest halts at privilege level 0",
    reads: FLOW | GUEST,
    violated: (c) => activity(c) === ACTIVITY.HLT && (c.low(F.GUEST_SS_AR_BYTES) & SEGMENT_RIGHTS.DPL) !== 0,
  },
  {
    section: NON_REGISTER,
    rule: "a guest with blocking by STI or MOV SS is active",
    reads: FLOW,
    violated: (c) => shadow(c) && activity(c) !== ACTIVITY.ACTIVE,
  },
  {
    section: NON_REGISTER,
    rule: "an event is injected only where the activity state lets it through",
    reads: FLOW | EVENT,
    violated: (c) => c.injecting && activity(c) !== ACTIVITY.ACTIVE && !allowedInactive(c),
  },
  {
    section: NON_REGISTER,
    rule: "reserved bits of the interruptibility state are clear",
    reads: FLOW,
    violated: (c) => (interruptibility(c) & INTERRUPTIBILITY_RESERVED) !== 0,
  },
  {
    section: NON_REGISTER,
    rule: "blocking by STI and by MOV SS exclude each other",
    reads: FLOW,
    violated: (c) => {
      return (interruptibility(c) & INTERRUPT_SHADOW) === INTERRUPT_SHADOW;
    },
  },
  {
    section: NON_REGISTER,
    rule: "blocking by STI needs RFLAGS.IF",
    reads: FLOW | FLAGS,
    violated: (c) => (interruptibility(c) & INTERRUPTIBILITY.STI) !== 0 && (c.low(F.GUEST_RFLAGS) & RFLAGS_IF) === 0,
  },
  {
    section: NON_REGISTER,
    rule: "an external interrupt is not injected into blocking by STI or MOV SS",
    reads: FLOW | EVENT,
    violated: (c) => injects(c, INTR_TYPE.EXT_INTR) && shadow(c),
  },
  {
    section: NON_REGISTER,
    rule: "an NMI is not injected into blocking by MOV SS",
    reads: FLOW | EVENT,
    qualification: ENTRY_FAILURE_QUALIFICATION.NMI_INJECTION,
    violated: (c) => injects(c, INTR_TYPE.NMI_INTR) && (interruptibility(c) & INTERRUPTIBILITY.MOV_SS) !== 0,
  },
  {
    section: NON_REGISTER,
    rule: "blocking by SMI needs system-management mode",
    reads: FLOW,
    violated: (c) => (interruptibility(c) & INTERRUPTIBILITY.SMI) !== 0,
  },
  {
    section: NON_REGISTER,
    rule: "with virtual NMIs, an NMI is not injected into blocking by NMI",
    reads: FLOW | EVENT | CONTROL,
    violated: (c) =>
      (c.pin & PIN_BASED.VIRTUAL_NMIS) !== 0 &&
      injects(c, INTR_TYPE.NMI_INTR) &&
      (interruptibility(c) & INTERRUPTIBILITY.NMI) !== 0,
  },
  {
    section: NON_REGISTER,
    rule: "no enclave has been interrupted",
    reads: FLOW,
    violated: (c) => (interruptibility(c) & INTERRUPTIBILITY.ENCLAVE_INTERRUPTION) !== 0,
  },
  {
    section: NON_REGISTER,
    rule: "reserved bits of the pending debug exceptions are clear",
    reads: FLOW,
    violated: (c) =>
      (c.low(F.GUEST_PENDING_DBG_EXCEPTIONS) & PENDING_RESERVED) !== 0 || c.high(F.GUEST_PENDING_DBG_EXCEPTIONS) !== 0,
  },
  {
    section: NON_REGISTER,
    rule: "in an interrupt shadow or halted, a pending single-step trap goes with RFLAGS.TF without BTF",
    reads: FLOW | FLAGS | GUEST,
    violated: (c) => {
      if (!shadow(c) && activity(c) !== ACTIVITY.HLT) return false;
      const traps =
        (c.low(F.GUEST_RFLAGS) & RFLAGS_TF) !== 0 && (c.low(F.GUEST_IA32_DEBUGCTL) & low(DEBUGCTL.BTF)) === 0;
      return ((c.low(F.GUEST_PENDING_DBG_EXCEPTIONS) & PENDING_BS) !== 0) !== traps;
    },
  },
  {
    section: NON_REGISTER,
    rule: "the VMCS link pointer, unless all ones, is a page within the physical-address width",
    reads: GUEST,
    qualification: ENTRY_FAILURE_QUALIFICATION.LINK_POINTER,
    violated: (c) => linked(c) && c.notPage(F.VMCS_LINK_POINTER),
  },
  {
    section: NON_REGISTER,
    rule: "the VMCS that the link pointer names has the revision identifier, and is no shadow VMCS",
    reads: GUEST,
    qualification: ENTRY_FAILURE_QUALIFICATION.LINK_POINTER,
    violated: (c) => {
      if (!linked(c) || c.notPage(F.VMCS_LINK_POINTER)) return false;
      const address = c.low(F.VMCS_LINK_POINTER) + c.high(F.VMCS_LINK_POINTER) * TWO_32;
      return c.environment.revisionAt(address) !== c.capabilities.revisionId;
    },
  },
];

/** Bits 2:1 and 8:5 of a PDPTE. */
const PDPTE_RESERVED = 0x1e6;
const PDPTE_PRESENT = 1;

/**
 * Rules on the PDPTEs of a guest with PAE paging, which are looked at when the rest of the guest state has been loaded.
 * They fail the entry as {@link GUEST_CHECKS} do.
 */
export const PDPTE_CHECKS: readonly EntryCheck[] = [0, 1, 2, 3].map((n) => ({
  section: "Checks on Guest Page-Directory-Pointer-Table Entries",
  rule: `reserved bits of PDPTE ${n} are clear if it is present`,
  reads: GUEST,
  qualification: ENTRY_FAILURE_QUALIFICATION.PDPTE,
  violated: (c) => {
    const entry = c.pdptes[n * 2] as number;
    if ((entry & PDPTE_PRESENT) === 0) return false;
    return (entry & PDPTE_RESERVED) !== 0 || c.highPastPhysical(c.pdptes[n * 2 + 1] as number);
  },
}));

/** A violation makes the VM entry fail with exit reason 33, "VM-entry failure due to invalid guest state". */
export const GUEST_CHECKS: readonly EntryCheck[] = [
  ...registers,
  ...SEGMENT_CHECKS,
  ...tables,
  ...flow,
  ...nonRegister,
];
