import { EXIT_REASON, EXIT_REASON_ENTRY_FAILURE, MSR, VMX_INSTRUCTION_ERROR, VM_EXIT } from "@tapvisor/x86-isa";
import { describe, expect, it } from "vitest";
import { CpuidLeaves } from "../../src/profiles/cpuid.js";
import { SKYLAKE_SERVER, profileNamed, type ProcessorProfile } from "../../src/index.js";
import { VmxCapabilities } from "../../src/vmx/capabilities.js";
import {
  CONTROL_CHECKS,
  Checked,
  GUEST_CHECKS,
  HOST_CHECKS,
  PDPTE_CHECKS,
  type EntryCheck,
} from "../../src/vmx/entry-checks/index.js";
import { Vmcs } from "../../src/vmx/vmcs.js";
import type { Break } from "./entry-violations/break.js";
import { CONTROLS } from "./entry-violations/controls.js";
import { GUEST } from "./entry-violations/guest-state.js";
import { HOST } from "./entry-violations/host.js";
import { Guest } from "./guest.js";

const NOT_CANONICAL = 0x8000_0000_0000n;
const LMA = 0x400;

/** What the checks of a profile's processor know besides the VMCS. */
function checkedOf(guest: Guest, profile: ProcessorProfile, rootEfer: number): Checked {
  const cpuid = new CpuidLeaves(profile, 0, 1);
  if (profile.vmx === undefined) throw new Error(`${profile.name} has no VT-x`);
  const { memory } = guest.host;
  const checked = new Checked({
    capabilities: new VmxCapabilities(profile.vmx, cpuid.cr4Supported),
    physicalAddressBits: profile.physicalAddressBits,
    linearAddressBits: profile.linearAddressBits,
    eferSupported: Number(cpuid.eferSupported),
    rootEfer: () => rootEfer,
    revisionAt: (address) => memory.readU32(address),
  });
  checked.take(new Vmcs(memory, guest.vmcs));
  return checked;
}

/** Every rule that the guest's VMCS breaks. */
function brokenRules(guest: Guest, profile: ProcessorProfile = SKYLAKE_SERVER, rootEfer = LMA): string[] {
  const checked = checkedOf(guest, profile, rootEfer);
  return [...CONTROL_CHECKS, ...HOST_CHECKS, ...GUEST_CHECKS]
    .filter((check) => check.violated(checked))
    .map(({ rule }) => rule);
}

/** A host of 32 bits, as far as its address-space size goes. */
const host32 = (g: Guest): void => {
  g.clear("VM_EXIT_CONTROLS", VM_EXIT.HOST_ADDR_SPACE_SIZE);
  g.write("HOST_RIP", 0x1000);
};

interface OtherProcessor {
  readonly profile?: ProcessorProfile;
  readonly rootEfer?: number;
  readonly rule: Break;
}

/** Rules that the profile cannot break alone, or not at all, with the processor that can. Root mode here is always IA-32e mode. */
const ELSEWHERE: Readonly<Record<string, OtherProcessor>> = {
  "with EPT, accessed and dirty flags are asked for only where they exist": {
    profile: profileNamed("skylake-server-no-ept-ad"),
    rule: (g) => g.write("EPT_POINTER", g.eptp | 0x40),
  },
  "HOST_SS_SELECTOR is not null in a host of 32 bits": {
    rootEfer: 0,
    rule: {
      mode: "protected",
      write: (g) => {
        host32(g);
        g.write("HOST_SS_SELECTOR", 0);
      },
    },
  },
  "a host of 32 bits has no IA-32e mode guest": { rootEfer: 0, rule: host32 },
  "HOST_CR4.PCIDE is clear in a host of 32 bits": {
    rootEfer: 0,
    rule: {
      mode: "protected",
      write: (g) => {
        host32(g);
        g.set("HOST_CR4", 1 << 17);
      },
    },
  },
};

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
const tested = (checks: readonly EntryCheck[]): EntryCheck[] => checks.filter(({ rule }) => !(rule in ELSEWHERE));

describe("VM entry", () => {
  it.each(["long", "protected", "real"] as const)("passes every check in %s mode", (mode) => {
    const guest = new Guest(mode).code(mode === "long" ? 64 : mode === "real" ? 16 : 32, (a) => a.hlt());
    expect(guest.run()).toBe(EXIT_REASON.HLT);
  });

  it("has a test for every rule, and no test for a rule that does not exist", () => {
    const rules = [...tested(CONTROL_CHECKS), ...tested(HOST_CHECKS), ...tested(GUEST_CHECKS)].map(({ rule }) => rule);
    expect(Object.keys({ ...CONTROLS, ...HOST, ...GUEST }).sort()).toEqual([...rules].sort());
  });

  it("keeps rules apart by their words", () => {
    const rules = [...CONTROL_CHECKS, ...HOST_CHECKS, ...GUEST_CHECKS, ...PDPTE_CHECKS].map(({ rule }) => rule);
    expect(new Set(rules).size).toBe(rules.length);
  });

  it.each(Object.entries({ ...CONTROLS, ...HOST, ...GUEST }))("can be refused for this alone: %s", (rule, how) => {
    expect(brokenRules(broken(how))).toEqual([rule]);
  });

  it.each(Object.entries(ELSEWHERE))("can be refused for this alone, on another processor: %s", (rule, other) => {
    expect(brokenRules(broken(other.rule), other.profile, other.rootEfer)).toEqual([rule]);
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

  it.each(PDPTE_CHECKS.map((check, n) => [check.rule, check, n] as const))("fails for a PDPTE: %s", (_, check, n) => {
    for (const entry of [0x1003n, 0x1021n, 0x1101n, (1n << 46n) | 0x1001n]) {
      const guest = new Guest("protected").code(32, (a) => a.hlt());
      guest.write("GUEST_CR0", 0x80000031n);
      guest.write("GUEST_CR4", 0x2020);
      guest.write(`GUEST_PDPTR${n as 0 | 1 | 2 | 3}`, entry);
      expect(guest.run()).toBe((EXIT_REASON_ENTRY_FAILURE | EXIT_REASON.INVALID_GUEST_STATE) >>> 0);
      expect(guest.cpu.entryViolation).toBe(violation(check));
      expect(guest.read("EXIT_QUALIFICATION")).toBe(2n);
    }
  });

  it("accepts a link pointer to a VMCS region", () => {
    const guest = new Guest().code(64, (a) => a.hlt());
    const region = guest.host.memory.allocatePage();
    guest.host.memory.writeU32(region, guest.host.memory.readU32(guest.vmcs));
    guest.write("VMCS_LINK_POINTER", BigInt(region));
    expect(guest.run()).toBe(EXIT_REASON.HLT);
  });

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
