import { CR4, EFER, SELECTOR, VM_EXIT, type VmcsFieldName } from "@tapvisor/x86-isa";
import { F } from "../fields.js";
import { FIELD_KIND } from "../vmcs-layout.js";
import type { Checked, EntryCheck } from "./checked.js";
import { fixedBitsViolated } from "./fixed-bits.js";

const { CONTROL, HOST } = FIELD_KIND;

const REGISTERS = "Checks on Host Control Registers, MSRs, and SSP";
const SEGMENTS = "Checks on Host Segment and Descriptor-Table Registers";
const ADDRESS_SPACE = "Checks Related to Address-Space Size";

/** RPL and TI of a selector. */
const SELECTOR_FLAGS = SELECTOR.RPL | SELECTOR.TI;
const LMA = Number(EFER.LMA);
const LME = Number(EFER.LME);

const SELECTORS = ["ES", "CS", "SS", "DS", "FS", "GS", "TR"] as const;
const BASES = ["FS", "GS", "TR", "GDTR", "IDTR"] as const;

const host64 = (c: Checked): boolean => (c.exit & VM_EXIT.HOST_ADDR_SPACE_SIZE) !== 0;

const canonical = (section: string, name: VmcsFieldName & `HOST_${string}`): EntryCheck => ({
  section,
  rule: `${name} is canonical`,
  reads: HOST,
  violated: (c) => c.notCanonical(F[name]),
});

/** A violation makes VMLAUNCH and VMRESUME fail with VM-instruction error 8. */
export const HOST_CHECKS: readonly EntryCheck[] = [
  {
    section: REGISTERS,
    rule: "HOST_CR0 has no bit that VMX operation forbids",
    reads: HOST,
    violated: (c) => fixedBitsViolated(c, F.HOST_CR0, c.capabilities.cr0Fixed0, c.capabilities.cr0Fixed1),
  },
  {
    section: REGISTERS,
    rule: "HOST_CR4 has no bit that VMX operation forbids",
    reads: HOST,
    violated: (c) => fixedBitsViolated(c, F.HOST_CR4, c.capabilities.cr4Fixed0, c.capabilities.cr4Fixed1),
  },
  {
    section: REGISTERS,
    rule: "HOST_CR3 is within the physical-address width",
    reads: HOST,
    violated: (c) => c.pastPhysical(F.HOST_CR3),
  },
  canonical(REGISTERS, "HOST_IA32_SYSENTER_ESP"),
  canonical(REGISTERS, "HOST_IA32_SYSENTER_EIP"),
  {
    section: REGISTERS,
    rule: "HOST_IA32_PAT, if loaded, holds memory types alone",
    reads: HOST | CONTROL,
    violated: (c) => (c.exit & VM_EXIT.LOAD_IA32_PAT) !== 0 && c.badPat(F.HOST_IA32_PAT),
  },
  {
    section: REGISTERS,
    rule: "HOST_IA32_EFER, if loaded, has no reserved bit",
    reads: HOST | CONTROL,
    violated: (c) =>
      (c.exit & VM_EXIT.LOAD_IA32_EFER) !== 0 &&
      ((c.low(F.HOST_IA32_EFER) & ~c.environment.eferSupported) !== 0 || c.high(F.HOST_IA32_EFER) !== 0),
  },
  {
    section: REGISTERS,
    rule: "LMA and LME of HOST_IA32_EFER, if loaded, equal the host address-space size",
    reads: HOST | CONTROL,
    violated: (c) => {
      if ((c.exit & VM_EXIT.LOAD_IA32_EFER) === 0) return false;
      return (c.low(F.HOST_IA32_EFER) & (LMA | LME)) !== (host64(c) ? LMA | LME : 0);
    },
  },
  ...SELECTORS.map((name): EntryCheck => {
    const field = F[`HOST_${name}_SELECTOR`];
    return {
      section: SEGMENTS,
      rule: `HOST_${name}_SELECTOR has RPL 0 and names the GDT`,
      reads: HOST,
      violated: (c) => (c.low(field) & SELECTOR_FLAGS) !== 0,
    };
  }),
  {
    section: SEGMENTS,
    rule: "HOST_CS_SELECTOR is not null",
    reads: HOST,
    violated: (c) => c.low(F.HOST_CS_SELECTOR) === 0,
  },
  {
    section: SEGMENTS,
    rule: "HOST_TR_SELECTOR is not null",
    reads: HOST,
    violated: (c) => c.low(F.HOST_TR_SELECTOR) === 0,
  },
  {
    section: SEGMENTS,
    rule: "HOST_SS_SELECTOR is not null in a host of 32 bits",
    reads: HOST | CONTROL,
    violated: (c) => !host64(c) && c.low(F.HOST_SS_SELECTOR) === 0,
  },
  ...BASES.map((name) => canonical(SEGMENTS, `HOST_${name}_BASE`)),
  {
    section: ADDRESS_SPACE,
    rule: "the host address-space size is that of the processor",
    reads: HOST | CONTROL,
    violated: (c) => host64(c) !== ((c.environment.rootEfer() & LMA) !== 0),
  },
  {
    section: ADDRESS_SPACE,
    rule: "a host of 32 bits has no IA-32e mode guest",
    reads: CONTROL,
    violated: (c) => !host64(c) && c.ia32e,
  },
  {
    section: ADDRESS_SPACE,
    rule: "HOST_CR4.PAE is set in a host of 64 bits",
    reads: HOST | CONTROL,
    violated: (c) => host64(c) && (c.low(F.HOST_CR4) & Number(CR4.PAE)) === 0,
  },
  {
    section: ADDRESS_SPACE,
    rule: "HOST_CR4.PCIDE is clear in a host of 32 bits",
    reads: HOST | CONTROL,
    violated: (c) => !host64(c) && (c.low(F.HOST_CR4) & Number(CR4.PCIDE)) !== 0,
  },
  {
    section: ADDRESS_SPACE,
    rule: "HOST_RIP is canonical, and has 32 bits in a host of 32 bits",
    reads: HOST | CONTROL,
    violated: (c) => (host64(c) ? c.notCanonical(F.HOST_RIP) : c.high(F.HOST_RIP) !== 0),
  },
];
