import {
  CPU_BASED,
  EXIT_REASON,
  EXIT_REASON_ENTRY_FAILURE,
  MSR,
  PIN_BASED,
  SECONDARY_EXEC,
  VMX_INSTRUCTION_ERROR,
  VM_ENTRY,
  VM_EXIT,
} from "@tapvisor/x86-isa";
import { describe, expect, it } from "vitest";
import { CONTROL_CHECKS, GUEST_CHECKS, HOST_CHECKS, type EntryCheck } from "../../src/vmx/entry-checks/index.js";
import { Guest, SELECTOR, type Mode } from "./guest.js";

/** How to break one rule: the mode of the guest (long unless named) and what to write. */
type Break = ((g: Guest) => void) | { readonly mode: Mode; readonly write: (g: Guest) => void };

const INTR = (type: number, vector: number, more = 0): number => (0x80000000 | (type << 8) | vector | more) >>> 0;
const CODE = 0x800;
const NOT_CANONICAL = 0x8000_0000_0000n;
const PAST_PHYSICAL = 1n << 46n;

/** A restricted guest: protected mode with paging, without unrestricted guest. */
const restricted = (g: Guest): void => g.clear("SECONDARY_VM_EXEC_CONTROL", SECONDARY_EXEC.UNRESTRICTED_GUEST);

/** Virtual-8086 mode under 32-bit paging. */
const v86 = (g: Guest): void => {
  g.write("GUEST_RFLAGS", 0x20002);
  for (const name of ["CS", "SS", "DS", "ES", "FS", "GS"] as const) {
    g.write(`GUEST_${name}_SELECTOR`, 0x100);
    g.write(`GUEST_${name}_BASE`, 0x1000);
    g.write(`GUEST_${name}_LIMIT`, 0xffff);
    g.write(`GUEST_${name}_AR_BYTES`, 0xf3);
  }
};

const prot = (write: (g: Guest) => void): Break => ({ mode: "protected", write });

const pinReserved = (g: Guest): void => g.set("PIN_BASED_VM_EXEC_CONTROL", PIN_BASED.POSTED_INTR);

const CONTROLS: Readonly<Record<string, Break>> = {
  "reserved bits of the pin-based controls are set as IA32_VMX_PINBASED_CTLS says": pinReserved,
  "reserved bits of the primary processor-based controls are set as IA32_VMX_PROCBASED_CTLS says": (g) =>
    g.set("CPU_BASED_VM_EXEC_CONTROL", CPU_BASED.TPR_SHADOW),
  "reserved bits of active secondary processor-based controls are clear": (g) =>
    g.set("SECONDARY_VM_EXEC_CONTROL", SECONDARY_EXEC.ENABLE_PML),
  "the CR3-target count is at most 4": (g) => g.write("CR3_TARGET_COUNT", 5),
  "with I/O bitmaps, bitmap A is a page within the physical-address width": (g) => {
    g.set("CPU_BASED_VM_EXEC_CONTROL", CPU_BASED.USE_IO_BITMAPS);
    g.write("IO_BITMAP_A", 0x1008);
  },
  "with I/O bitmaps, bitmap B is a page within the physical-address width": (g) => {
    g.set("CPU_BASED_VM_EXEC_CONTROL", CPU_BASED.USE_IO_BITMAPS);
    g.write("IO_BITMAP_B", PAST_PHYSICAL);
  },
  "with MSR bitmaps, they are a page within the physical-address width": (g) => {
    g.set("CPU_BASED_VM_EXEC_CONTROL", CPU_BASED.USE_MSR_BITMAPS);
    g.write("MSR_BITMAP", 1);
  },
  "virtual NMIs need NMI exiting": (g) => g.set("PIN_BASED_VM_EXEC_CONTROL", PIN_BASED.VIRTUAL_NMIS),
  "NMI-window exiting needs virtual NMIs": (g) => g.set("CPU_BASED_VM_EXEC_CONTROL", CPU_BASED.NMI_WINDOW_EXITING),
  "with VPIDs, the virtual-processor identifier is not 0": (g) =>
    g.set("SECONDARY_VM_EXEC_CONTROL", SECONDARY_EXEC.ENABLE_VPID),
  "with EPT, the memory type of the EPTP is supported": (g) => g.write("EPT_POINTER", g.eptp ^ 3),
  "with EPT, the EPTP asks for a page walk of 4": (g) => g.write("EPT_POINTER", g.eptp ^ (4 << 3)),
  "with EPT, reserved bits of the EPTP are clear": (g) => g.write("EPT_POINTER", g.eptp | 0x80),
  "unrestricted guest needs EPT": (g) => g.clear("SECONDARY_VM_EXEC_CONTROL", SECONDARY_EXEC.ENABLE_EPT),
  "reserved bits of the VM-exit controls are set as IA32_VMX_EXIT_CTLS says": (g) =>
    g.set("VM_EXIT_CONTROLS", VM_EXIT.CLEAR_BNDCFGS),
  "saving the VMX-preemption timer needs the timer to be active": (g) =>
    g.set("VM_EXIT_CONTROLS", VM_EXIT.SAVE_VMX_PREEMPTION_TIMER),
  "the VM-exit MSR-store list is aligned to 16 bytes and within the physical-address width": (g) => {
    g.write("VM_EXIT_MSR_STORE_COUNT", 1);
    g.write("VM_EXIT_MSR_STORE_ADDR", 8);
  },
  "the VM-exit MSR-load list is aligned to 16 bytes and within the physical-address width": (g) => {
    g.write("VM_EXIT_MSR_LOAD_COUNT", 2);
    g.write("VM_EXIT_MSR_LOAD_ADDR", PAST_PHYSICAL - 16n);
  },
  "reserved bits of the VM-entry controls are set as IA32_VMX_ENTRY_CTLS says": (g) =>
    g.set("VM_ENTRY_CONTROLS", VM_ENTRY.SMM),
  "the interruption type is not reserved": (g) => g.write("VM_ENTRY_INTR_INFO_FIELD", INTR(1, 0x20)),
  "the vector fits the interruption type": (g) => g.write("VM_ENTRY_INTR_INFO_FIELD", INTR(2, 3)),
  "an error code is delivered exactly for a hardware exception that has one, in a guest in protected mode": (g) =>
    g.write("VM_ENTRY_INTR_INFO_FIELD", INTR(3, 13)),
  "reserved bits of the interruption information are clear": (g) =>
    g.write("VM_ENTRY_INTR_INFO_FIELD", INTR(3, 6, 1 << 13)),
  "bits 31:16 of an error code that is delivered are clear": (g) => {
    g.write("VM_ENTRY_INTR_INFO_FIELD", INTR(3, 13, CODE));
    g.write("VM_ENTRY_EXCEPTION_ERROR_CODE", 0x10000);
  },
  "the instruction length of a software event is at most 15": (g) => {
    g.write("VM_ENTRY_INTR_INFO_FIELD", INTR(4, 0x80));
    g.write("VM_ENTRY_INSTRUCTION_LEN", 16);
  },
  "the VM-entry MSR-load list is aligned to 16 bytes and within the physical-address width": (g) => {
    g.write("VM_ENTRY_MSR_LOAD_COUNT", 1);
    g.write("VM_ENTRY_MSR_LOAD_ADDR", 4);
  },
};

const HOST: Readonly<Record<string, Break>> = {
  "HOST_CR0 has no bit that VMX operation forbids": (g) => g.clear("HOST_CR0", 0x20),
  "HOST_CR4 has no bit that VMX operation forbids": (g) => g.clear("HOST_CR4", 0x2000),
  "HOST_CR3 is within the physical-address width": (g) => g.write("HOST_CR3", PAST_PHYSICAL),
  "HOST_IA32_SYSENTER_ESP is canonical": (g) => g.write("HOST_IA32_SYSENTER_ESP", NOT_CANONICAL),
  "HOST_IA32_SYSENTER_EIP is canonical": (g) => g.write("HOST_IA32_SYSENTER_EIP", NOT_CANONICAL),
  "HOST_IA32_PAT, if loaded, holds memory types alone": (g) => {
    g.set("VM_EXIT_CONTROLS", VM_EXIT.LOAD_IA32_PAT);
    g.write("HOST_IA32_PAT", 0x0200000000000000n);
  },
  "HOST_IA32_EFER, if loaded, has no reserved bit": (g) => {
    g.set("VM_EXIT_CONTROLS", VM_EXIT.LOAD_IA32_EFER);
    g.write("HOST_IA32_EFER", 0x502);
  },
  "LMA and LME of HOST_IA32_EFER, if loaded, equal the host address-space size": (g) => {
    g.set("VM_EXIT_CONTROLS", VM_EXIT.LOAD_IA32_EFER);
    g.write("HOST_IA32_EFER", 0x100);
  },
  "HOST_ES_SELECTOR has RPL 0 and names the GDT": (g) => g.write("HOST_ES_SELECTOR", 3),
  "HOST_CS_SELECTOR has RPL 0 and names the GDT": (g) => g.write("HOST_CS_SELECTOR", 0x13),
  "HOST_SS_SELECTOR has RPL 0 and names the GDT": (g) => g.write("HOST_SS_SELECTOR", 0x1c),
  "HOST_DS_SELECTOR has RPL 0 and names the GDT": (g) => g.write("HOST_DS_SELECTOR", 1),
  "HOST_FS_SELECTOR has RPL 0 and names the GDT": (g) => g.write("HOST_FS_SELECTOR", 4),
  "HOST_GS_SELECTOR has RPL 0 and names the GDT": (g) => g.write("HOST_GS_SELECTOR", 2),
  "HOST_TR_SELECTOR has RPL 0 and names the GDT": (g) => g.write("HOST_TR_SELECTOR", 0x44),
  "HOST_CS_SELECTOR is not null": (g) => g.write("HOST_CS_SELECTOR", 0),
  "HOST_TR_SELECTOR is not null": (g) => g.write("HOST_TR_SELECTOR", 0),
  "HOST_FS_BASE is canonical": (g) => g.write("HOST_FS_BASE", NOT_CANONICAL),
  "HOST_GS_BASE is canonical": (g) => g.write("HOST_GS_BASE", NOT_CANONICAL),
  "HOST_TR_BASE is canonical": (g) => g.write("HOST_TR_BASE", NOT_CANONICAL),
  "HOST_GDTR_BASE is canonical": (g) => g.write("HOST_GDTR_BASE", NOT_CANONICAL),
  "HOST_IDTR_BASE is canonical": (g) => g.write("HOST_IDTR_BASE", NOT_CANONICAL),
  "the host address-space size is that of the processor": prot((g) => {
    g.clear("VM_EXIT_CONTROLS", VM_EXIT.HOST_ADDR_SPACE_SIZE);
    g.write("HOST_RIP", 0x1000);
  }),
  "HOST_CR4.PAE is set in a host of 64 bits": (g) => g.clear("HOST_CR4", 0x20),
  "HOST_RIP is canonical, and has 32 bits in a host of 32 bits": (g) => g.write("HOST_RIP", NOT_CANONICAL),
};

/** Segment rules that are alike for several registers. */
const eachSegment = (): Record<string, Break> => {
  const rules: Record<string, Break> = {};
  for (const name of ["CS", "SS", "DS", "ES", "FS", "GS"] as const) {
    rules[`${name}: in virtual-8086 mode the base is the selector times 16`] = prot((g) => {
      v86(g);
      g.write(`GUEST_${name}_BASE`, 0x2000);
    });
    rules[`${name}: in virtual-8086 mode the limit is 0xffff`] = prot((g) => {
      v86(g);
      g.write(`GUEST_${name}_LIMIT`, 0xfffff);
    });
    rules[`${name}: in virtual-8086 mode the rights are 0xf3`] = prot((g) => {
      v86(g);
      g.write(`GUEST_${name}_AR_BYTES`, 0x93);
    });
    rules[`${name}: it is code or data`] = (g) => g.clear(`GUEST_${name}_AR_BYTES`, 0x10);
    rules[`${name}: it is present`] = (g) => g.clear(`GUEST_${name}_AR_BYTES`, 0x80);
    rules[`${name}: reserved bits of the rights are clear`] = (g) => g.set(`GUEST_${name}_AR_BYTES`, 0x100);
    rules[`${name}: G fits the limit`] = (g) => g.write(`GUEST_${name}_LIMIT`, 0xfffffff0);
  }
  for (const name of ["TR", "FS", "GS"] as const) {
    rules[`${name}: the base is canonical`] = (g) => g.write(`GUEST_${name}_BASE`, NOT_CANONICAL);
  }
  for (const name of ["CS", "SS", "DS", "ES"] as const) {
    rules[`${name}: the base has 32 bits`] = (g) => g.write(`GUEST_${name}_BASE`, 1n << 32n);
  }
  for (const name of ["DS", "ES", "FS", "GS"] as const) {
    rules[`${name}: it is accessed`] = (g) => g.write(`GUEST_${name}_AR_BYTES`, 0xc092);
    rules[`${name}: code is readable`] = (g) => g.write(`GUEST_${name}_AR_BYTES`, 0xc099);
    rules[`${name}: DPL of data or nonconforming code is at least RPL, but in an unrestricted guest`] = (g) => {
      restricted(g);
      g.write(`GUEST_${name}_SELECTOR`, SELECTOR.DATA | 3);
    };
  }
  return rules;
};

const ldtr =
  (rights: number): ((g: Guest) => void) =>
  (g) => {
    g.write("GUEST_LDTR_SELECTOR", 0x28);
    g.write("GUEST_LDTR_AR_BYTES", rights);
  };

const SEGMENTS: Readonly<Record<string, Break>> = {
  ...eachSegment(),
  "TR: the selector names the GDT": (g) => g.write("GUEST_TR_SELECTOR", 0x24),
  "LDTR: the selector of a usable LDTR names the GDT": (g) => {
    ldtr(0x82)(g);
    g.write("GUEST_LDTR_SELECTOR", 0x2c);
  },
  "SS: RPL equals that of CS, but in virtual-8086 mode or an unrestricted guest": (g) => {
    restricted(g);
    g.write("GUEST_CS_SELECTOR", SELECTOR.CODE64 | 1);
  },
  "LDTR: the base of a usable LDTR is canonical": (g) => {
    ldtr(0x82)(g);
    g.write("GUEST_LDTR_BASE", NOT_CANONICAL);
  },
  "CS: it is accessed code, or accessed writable data in an unrestricted guest": (g) =>
    g.write("GUEST_CS_AR_BYTES", 0xa09a),
  "SS: it is accessed writable data": (g) => g.write("GUEST_SS_AR_BYTES", 0xc091),
  "CS: D/B is clear in 64-bit code": (g) => g.write("GUEST_CS_AR_BYTES", 0xe09b),
  "CS: DPL is 0 where it is data": { mode: "real", write: (g) => g.write("GUEST_CS_AR_BYTES", 0xf3) },
  "CS: DPL of nonconforming code equals that of SS": (g) => g.write("GUEST_CS_AR_BYTES", 0xa0fb),
  "CS: DPL of conforming code is at most that of SS": (g) => g.write("GUEST_CS_AR_BYTES", 0xa0ff),
  "SS: DPL equals RPL, but in an unrestricted guest": (g) => {
    restricted(g);
    g.write("GUEST_CS_SELECTOR", SELECTOR.CODE64 | 3);
    g.write("GUEST_SS_SELECTOR", SELECTOR.DATA | 3);
  },
  "SS: DPL is 0 where CS is data or the guest is in real-address mode": {
    mode: "real",
    write: (g) => {
      g.write("GUEST_CS_AR_BYTES", 0x9f);
      g.write("GUEST_SS_AR_BYTES", 0xf3);
    },
  },
  "TR: it is a busy TSS, of 64 bits in IA-32e mode": (g) => g.write("GUEST_TR_AR_BYTES", 0x83),
  "TR: it is a system segment": (g) => g.write("GUEST_TR_AR_BYTES", 0x9b),
  "TR: it is present": (g) => g.write("GUEST_TR_AR_BYTES", 0xb),
  "TR: reserved bits of the rights are clear": (g) => g.write("GUEST_TR_AR_BYTES", 0x18b),
  "TR: G fits the limit": (g) => g.write("GUEST_TR_AR_BYTES", 0x808b),
  "TR: it is usable": (g) => g.write("GUEST_TR_AR_BYTES", 0x1008b),
  "LDTR: it is an LDT": ldtr(0x83),
  "LDTR: it is a system segment": ldtr(0x92),
  "LDTR: it is present": ldtr(0x2),
  "LDTR: reserved bits of the rights are clear": ldtr(0x182),
  "LDTR: G fits the limit": ldtr(0x8082),
};

const loadEfer =
  (value: number): ((g: Guest) => void) =>
  (g) => {
    g.set("VM_ENTRY_CONTROLS", VM_ENTRY.LOAD_IA32_EFER);
    g.write("GUEST_IA32_EFER", value);
  };

const GUEST: Readonly<Record<string, Break>> = {
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
  "the VMCS link pointer is all ones, as VMCS shadowing does not exist": (g) => g.write("VMCS_LINK_POINTER", 0),
};

/** Rules that this profile cannot break alone, and why. */
const UNREACHABLE: ReadonlySet<string> = new Set([
  // Every profile that offers EPT as here has the flags; another profile breaks it below.
  "with EPT, accessed and dirty flags are asked for only where they exist",
  // Root mode is always IA-32e mode, so a host of 32 bits breaks "the host address-space size is that of the processor".
  "HOST_SS_SELECTOR is not null in a host of 32 bits",
  "a host of 32 bits has no IA-32e mode guest",
  "HOST_CR4.PCIDE is clear in a host of 32 bits",
]);

function broken(rule: Break): Guest {
  if (typeof rule === "function") {
    const guest = new Guest();
    rule(guest);
    return guest;
  }
  const guest = new Guest(rule.mode);
  rule.write(guest);
  return guest;
}

const violation = (check: EntryCheck): string => `${check.section}: ${check.rule}`;
const tested = (checks: readonly EntryCheck[]): EntryCheck[] => checks.filter(({ rule }) => !UNREACHABLE.has(rule));

describe("VM entry", () => {
  it.each(["long", "protected", "real"] as const)("passes every check in %s mode", (mode) => {
    const guest = new Guest(mode).code(mode === "long" ? 64 : mode === "real" ? 16 : 32, (a) => a.hlt());
    expect(guest.run()).toBe(EXIT_REASON.HLT);
  });

  it("has a test for every rule, and no test for a rule that does not exist", () => {
    const rules = [...tested(CONTROL_CHECKS), ...tested(HOST_CHECKS), ...tested(GUEST_CHECKS)].map(({ rule }) => rule);
    expect(Object.keys({ ...CONTROLS, ...HOST, ...GUEST }).sort()).toEqual([...rules].sort());
  });

  it.each(tested(CONTROL_CHECKS).map((check) => [check.rule, check] as const))(
    "refuses controls: %s",
    (rule, check) => {
      const guest = broken(CONTROLS[rule] as Break);
      expect(guest.cpu.vmlaunch()).toBe(2);
      expect(guest.cpu.entryViolation).toBe(violation(check));
      expect(guest.read("VM_INSTRUCTION_ERROR")).toBe(BigInt(VMX_INSTRUCTION_ERROR.ENTRY_INVALID_CONTROL_FIELD));
    },
  );

  it.each(tested(HOST_CHECKS).map((check) => [check.rule, check] as const))("refuses host state: %s", (rule, check) => {
    const guest = broken(HOST[rule] as Break);
    expect(guest.cpu.vmlaunch()).toBe(2);
    expect(guest.cpu.entryViolation).toBe(violation(check));
    expect(guest.read("VM_INSTRUCTION_ERROR")).toBe(BigInt(VMX_INSTRUCTION_ERROR.ENTRY_INVALID_HOST_STATE_FIELD));
  });

  it.each(tested(GUEST_CHECKS).map((check) => [check.rule, check] as const))(
    "fails for guest state: %s",
    (rule, check) => {
      const guest = broken(GUEST[rule] as Break);
      const rip = guest.read("GUEST_RIP");
      expect(guest.run()).toBe((EXIT_REASON_ENTRY_FAILURE | EXIT_REASON.INVALID_GUEST_STATE) >>> 0);
      expect(guest.cpu.entryViolation).toBe(violation(check));
      expect(guest.read("EXIT_QUALIFICATION")).toBe(BigInt(check.qualification ?? 0));
      expect(guest.read("GUEST_RIP")).toBe(rip);
      // The launch state is still clear.
      expect(guest.cpu.vmresume()).toBe(2);
      expect(guest.read("VM_INSTRUCTION_ERROR")).toBe(BigInt(VMX_INSTRUCTION_ERROR.VMRESUME_NONLAUNCHED_VMCS));
    },
  );

  it("passes again once the field is mended", () => {
    const guest = new Guest().code(64, (a) => a.hlt());
    guest.write("GUEST_RFLAGS", 0);
    expect(guest.run()).toBeGreaterThan(EXIT_REASON_ENTRY_FAILURE);
    guest.write("GUEST_RFLAGS", 2);
    expect(guest.run()).toBe(EXIT_REASON.HLT);
  });

  it("accepts a RIP just past the canonical addresses, where the first fetch raises #GP", () => {
    const guest = new Guest();
    guest.write("GUEST_RIP", NOT_CANONICAL);
    guest.write("EXCEPTION_BITMAP", 1 << 13);
    expect(guest.run()).toBe(EXIT_REASON.EXCEPTION_NMI);
    expect(guest.read("VM_EXIT_INTR_INFO")).toBe(0x80000b0dn);
    expect(guest.read("GUEST_RIP")).toBe(NOT_CANONICAL);
  });

  it("reads IA32_VMX_BASIC as the revision that a region needs", () => {
    const guest = new Guest();
    expect(guest.host.memory.readU32(guest.vmcs)).toBe(Number(guest.cpu.rdmsr(MSR.IA32_VMX_BASIC) & 0x7fffffffn));
  });
});
