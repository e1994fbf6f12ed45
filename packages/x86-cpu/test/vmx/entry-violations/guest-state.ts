import { PIN_BASED, VM_ENTRY } from "@tapvisor/x86-isa";
import type { Guest } from "../guest.js";
import { INTR, NOT_CANONICAL, PAST_PHYSICAL, v86, prot, type Break } from "./break.js";
import { SEGMENTS } from "./segments.js";

const loadEfer =
  (value: number): ((g: Guest) => void) =>
  (g) => {
    g.set("VM_ENTRY_CONTROLS", VM_ENTRY.LOAD_IA32_EFER);
    g.write("GUEST_IA32_EFER", value);
  };

export const GUEST: Readonly<Record<string, Break>> = {
  ...SEGMENTS,
  "CR0 has no bit that VMX operation forbids; PE and PG are free in an unrestricted guest": (g) =>
    g.clear("GUEST_CR0", 0x20),
  "paging needs protection": {
    mode: "real",
    write: (g) => {
      g.write("GUEST_CR0", 0x80000030n);
    },
  },
  "CR4 has no bit that VMX operation forbids": (g) => g.clear("GUEST_CR4", 0x2000),
  "reserved bits of IA32_DEBUGCTL, if loaded, are clear": (g) => {
    g.set("VM_ENTRY_CONTROLS", VM_ENTRY.LOAD_DEBUG_CONTROLS);
    g.write("GUEST_IA32_DEBUGCTL", 4);
  },
  "an IA-32e mode guest has paging and PAE": (g) => g.clear("GUEST_CR4", 0x20),
  "CR4.PCIDE is clear outside IA-32e mode": prot((g) => g.set("GUEST_CR4", 1 << 17)),
  "CR3 is within the physical-address width": (g) => g.write("GUEST_CR3", PAST_PHYSICAL),
  "DR7, if loaded, has 32 bits": (g) => {
    g.set("VM_ENTRY_CONTROLS", VM_ENTRY.LOAD_DEBUG_CONTROLS);
    g.write("GUEST_DR7", 1n << 32n);
  },
  "IA32_SYSENTER_ESP is canonical": (g) => g.write("GUEST_SYSENTER_ESP", NOT_CANONICAL),
  "IA32_SYSENTER_EIP is canonical": (g) => g.write("GUEST_SYSENTER_EIP", NOT_CANONICAL),
  "IA32_PAT, if loaded, holds memory types alone": (g) => {
    g.set("VM_ENTRY_CONTROLS", VM_ENTRY.LOAD_IA32_PAT);
    g.write("GUEST_IA32_PAT", 3);
  },
  "IA32_EFER, if loaded, has no reserved bit": loadEfer(0x502),
  "LMA of IA32_EFER, if loaded, equals the control IA-32e mode guest": loadEfer(0),
  "LMA and LME of IA32_EFER, if loaded, are equal in a guest with paging": loadEfer(0x400),
  "the base of GDTR is canonical": (g) => g.write("GUEST_GDTR_BASE", NOT_CANONICAL),
  "the limit of GDTR has 16 bits": (g) => g.write("GUEST_GDTR_LIMIT", 0x10000),
  "the base of IDTR is canonical": (g) => g.write("GUEST_IDTR_BASE", NOT_CANONICAL),
  "the limit of IDTR has 16 bits": (g) => g.write("GUEST_IDTR_LIMIT", 0x10000),
  "RIP has 32 bits outside 64-bit code": prot((g) => g.write("GUEST_RIP", 1n << 32n)),
  "bits of RIP past the linear-address width are alike in 64-bit code": (g) => g.write("GUEST_RIP", 1n << 48n),
  "reserved bits of RFLAGS are clear, and bit 1 is set": (g) => g.write("GUEST_RFLAGS", 0),
  "virtual-8086 mode needs protected mode outside IA-32e mode": (g) => v86(g),
  "an external interrupt is injected only with RFLAGS.IF": (g) => g.write("VM_ENTRY_INTR_INFO_FIELD", INTR(0, 0x20)),
  "the activity state exists": (g) => g.write("GUEST_ACTIVITY_STATE", 4),
  "a guest halts at privilege level 0": (g) => {
    g.write("GUEST_ACTIVITY_STATE", 1);
    g.write("GUEST_CS_AR_BYTES", 0xa0fb);
    g.write("GUEST_SS_AR_BYTES", 0xc0f3);
  },
  "a guest with blocking by STI or MOV SS is active": (g) => {
    g.write("GUEST_ACTIVITY_STATE", 1);
    g.write("GUEST_INTERRUPTIBILITY_INFO", 2);
  },
  "an event is injected only where the activity state lets it through": (g) => {
    g.write("GUEST_ACTIVITY_STATE", 1);
    g.write("VM_ENTRY_INTR_INFO_FIELD", INTR(3, 6));
  },
  "reserved bits of the interruptibility state are clear": (g) => g.write("GUEST_INTERRUPTIBILITY_INFO", 0x20),
  "blocking by STI and by MOV SS exclude each other": (g) => {
    g.write("GUEST_RFLAGS", 0x202);
    g.write("GUEST_INTERRUPTIBILITY_INFO", 3);
  },
  "blocking by STI needs RFLAGS.IF": (g) => g.write("GUEST_INTERRUPTIBILITY_INFO", 1),
  "an external interrupt is not injected into blocking by STI or MOV SS": (g) => {
    g.write("GUEST_RFLAGS", 0x202);
    g.write("GUEST_INTERRUPTIBILITY_INFO", 1);
    g.write("VM_ENTRY_INTR_INFO_FIELD", INTR(0, 0x20));
  },
  "an NMI is not injected into blocking by MOV SS": (g) => {
    g.write("GUEST_INTERRUPTIBILITY_INFO", 2);
    g.write("VM_ENTRY_INTR_INFO_FIELD", INTR(2, 2));
  },
  "blocking by SMI needs system-management mode": (g) => g.write("GUEST_INTERRUPTIBILITY_INFO", 4),
  "with virtual NMIs, an NMI is not injected into blocking by NMI": (g) => {
    g.set("PIN_BASED_VM_EXEC_CONTROL", PIN_BASED.NMI_EXITING | PIN_BASED.VIRTUAL_NMIS);
    g.write("GUEST_INTERRUPTIBILITY_INFO", 8);
    g.write("VM_ENTRY_INTR_INFO_FIELD", INTR(2, 2));
  },
  "no enclave has been interrupted": (g) => g.write("GUEST_INTERRUPTIBILITY_INFO", 0x10),
  "reserved bits of the pending debug exceptions are clear": (g) => g.write("GUEST_PENDING_DBG_EXCEPTIONS", 0x10),
  "in an interrupt shadow or halted, a pending single-step trap goes with RFLAGS.TF without BTF": (g) => {
    g.write("GUEST_RFLAGS", 0x102);
    g.write("GUEST_INTERRUPTIBILITY_INFO", 2);
  },
  "the VMCS link pointer, unless all ones, is a page within the physical-address width": (g) =>
    g.write("VMCS_LINK_POINTER", BigInt(g.vmcs + 8)),
  "the VMCS that the link pointer names has the revision identifier, and is no shadow VMCS": (g) => {
    const region = g.host.memory.allocatePage();
    g.host.memory.writeU32(region, 0x80000004);
    g.write("VMCS_LINK_POINTER", BigInt(region));
  },
};
