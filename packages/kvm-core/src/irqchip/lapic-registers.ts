import { APIC_BASE, PAGE_SIZE } from "@tapvisor/x86-isa";

/** Offsets of the local APIC's registers in its page (SDM vol. 3, "Local APIC Register Address Map"). */
export const APIC = {
  ID: 0x20,
  LVR: 0x30,
  TASKPRI: 0x80,
  ARBPRI: 0x90,
  PROCPRI: 0xa0,
  EOI: 0xb0,
  RRR: 0xc0,
  LDR: 0xd0,
  DFR: 0xe0,
  SPIV: 0xf0,
  ISR: 0x100,
  TMR: 0x180,
  IRR: 0x200,
  ESR: 0x280,
  LVTCMCI: 0x2f0,
  ICR: 0x300,
  ICR2: 0x310,
  LVTT: 0x320,
  LVTTHMR: 0x330,
  LVTPC: 0x340,
  LVT0: 0x350,
  LVT1: 0x360,
  LVTERR: 0x370,
  TMICT: 0x380,
  TMCCT: 0x390,
  TDCR: 0x3e0,
  SELF_IPI: 0x3f0,
} as const;

/** Local vector table entries in order of address. */
export const LVT_COUNT = 6;
export const LVT_MASKED = 1 << 16;
export const LVT_LEVEL_TRIGGER = 1 << 15;
export const LVT_REMOTE_IRR = 1 << 14;
export const LVT_POLARITY = 1 << 13;
export const LVT_SEND_PENDING = 1 << 12;
export const VECTOR_MASK = 0xff;
export const MODE_MASK = 0x700;

/** Timer mode, bits 18:17 of the LVT timer register. */
export const TIMER_MODE = { ONESHOT: 0, PERIODIC: 1 << 17, TSC_DEADLINE: 2 << 17 } as const;

const LVT_BITS = LVT_MASKED | LVT_SEND_PENDING | VECTOR_MASK;
const LINT_BITS = LVT_BITS | MODE_MASK | LVT_POLARITY | LVT_REMOTE_IRR | LVT_LEVEL_TRIGGER;
/** Writable bits of each LVT entry; those of the timer without its mode, which depends on CPUID. */
export const LVT_WRITABLE: readonly number[] = [
  LVT_BITS,
  LVT_BITS | MODE_MASK,
  LVT_BITS | MODE_MASK,
  LINT_BITS,
  LINT_BITS,
  LVT_BITS,
];

/** Delivery mode, bits 10:8 of the ICR and of LVT entries. */
export const DELIVERY = {
  FIXED: 0x000,
  LOWEST: 0x100,
  SMI: 0x200,
  REMOTE_READ: 0x300,
  NMI: 0x400,
  INIT: 0x500,
  STARTUP: 0x600,
  EXTINT: 0x700,
} as const;

/** Destination shorthand, bits 19:18 of the ICR. */
export const SHORTHAND = { NONE: 0, SELF: 1 << 18, ALL: 2 << 18, OTHERS: 3 << 18 } as const;
export const SHORTHAND_MASK = 3 << 18;
/** Bit 11 of the ICR: the destination is logical. */
export const DEST_LOGICAL = 1 << 11;
export const ICR_BUSY = 1 << 12;
export const INT_ASSERT = 1 << 14;
export const INT_LEVELTRIG = 1 << 15;

export const SPIV_ENABLED = 1 << 8;
export const SPIV_DIRECTED_EOI = 1 << 12;
export const LVR_DIRECTED_EOI = 1 << 24;
/** Version 0x14 with six LVT entries. */
export const APIC_VERSION = 0x14 | ((LVT_COUNT - 1) << 16);

export const DFR_FLAT = 0xffffffff;
export const DFR_CLUSTER = 0x0fffffff;
export const XAPIC_BROADCAST = 0xff;
export const X2APIC_BROADCAST = 0xffffffff;

/** Events that wait for the vCPU: KVM_APIC_INIT, KVM_APIC_SIPI. */
export const APIC_EVENT = { INIT: 1, SIPI: 2 } as const;

/** Bytes of the APIC's page. */
export const APIC_PAGE_BYTES = PAGE_SIZE;

/** One bit per 16 bytes of the page: which registers exist. Two words, low first. */
const READABLE = [0xffffe70c, 0x43ff01ff] as const;

/** True for the offset of a register that can be read. */
export function isReadable(offset: number): boolean {
  const index = offset >> 4;
  return offset <= 0x3f0 && (((READABLE[index >> 5] ?? 0) >>> (index & 31)) & 1) === 1;
}

/** kvm_apic_hw_enabled, by the value of IA32_APIC_BASE. */
export function apicIsEnabledInHardware(apicBase: bigint): boolean {
  return (apicBase & APIC_BASE.ENABLE) !== 0n;
}
