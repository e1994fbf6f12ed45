import { MSR, VMCS, VMX_INSTRUCTION_ERROR, vmcsFieldBytes } from "@tapvisor/x86-isa";
import { describe, expect, it } from "vitest";
import {
  EPYC,
  HostGeneralProtection,
  HostUndefinedOpcode,
  PROFILES,
  SKYLAKE_SERVER,
  createHost,
  profileNamed,
  type Processor,
  type ProcessorProfile,
} from "../../src/index.js";
import { VmcsLayout } from "../../src/vmx/vmcs-layout.js";
import { Guest } from "./guest.js";

const VMXE = 0x2000n;

function processor(profile: ProcessorProfile = SKYLAKE_SERVER): {
  cpu: Processor;
  page: (revision?: number) => number;
  size: number;
} {
  const host = createHost({ profile, ramBytes: 1 << 20 });
  const cpu = host.processors[0];
  if (cpu === undefined) throw new Error("a host has a processor");
  return {
    cpu,
    size: host.memory.size,
    page: (revision = 4) => {
      const at = host.memory.allocatePage();
      host.memory.writeU32(at, revision);
      return at;
    },
  };
}

function inVmx(profile?: ProcessorProfile): ReturnType<typeof processor> & { region: number } {
  const parts = processor(profile);
  parts.cpu.writeCr(4, parts.cpu.readCr(4) | VMXE);
  const region = parts.page();
  expect(parts.cpu.vmxon(region)).toBe(0);
  return { ...parts, region };
}

describe("VMXON", () => {
  it("is #UD without CR4.VMXE", () => {
    const { cpu, page } = processor();
    expect(() => cpu.vmxon(page())).toThrow(HostUndefinedOpcode);
  });

  it("is #GP where the firmware has locked it off", () => {
    const { cpu, page } = processor(profileNamed("skylake-server-vmx-locked-off"));
    cpu.writeCr(4, cpu.readCr(4) | VMXE);
    expect(() => cpu.vmxon(page())).toThrow(HostGeneralProtection);
    expect(() => cpu.wrmsr(MSR.IA32_FEATURE_CONTROL, 5n)).toThrow(HostGeneralProtection);
  });

  it("does not exist on a processor without VT-x, where CR4.VMXE is #GP", () => {
    const { cpu, page } = processor(EPYC);
    expect(() => cpu.writeCr(4, cpu.readCr(4) | VMXE)).toThrow(HostGeneralProtection);
    expect(() => cpu.vmxon(page())).toThrow(HostUndefinedOpcode);
    expect(() => cpu.rdmsr(MSR.IA32_VMX_BASIC)).toThrow(HostGeneralProtection);
  });

  it("is VMfailInvalid for a region that is misaligned, outside, or of another revision", () => {
    const { cpu, page, size } = processor();
    cpu.writeCr(4, cpu.readCr(4) | VMXE);
    expect(cpu.vmxon(page() + 8)).toBe(1);
    expect(cpu.vmxon(2 ** 46)).toBe(1);
    expect(cpu.vmxon(size)).toBe(1);
    expect(cpu.vmxon(page(5))).toBe(1);
    expect(() => cpu.vmclear(page())).toThrow(HostUndefinedOpcode);
  });

  it("is VMfail in VMX root operation: invalid without a current VMCS, else error 15", () => {
    const { cpu, page, region } = inVmx();
    expect(cpu.vmxon(region)).toBe(1);
    expect(cpu.vmptrld(page())).toBe(0);
    expect(cpu.vmxon(region)).toBe(2);
    expect(cpu.vmread32(VMCS.VM_INSTRUCTION_ERROR)).toBe(VMX_INSTRUCTION_ERROR.VMXON_IN_VMX_ROOT_OPERATION);
  });

  it("fixes bits of CR0 and CR4 until VMXOFF", () => {
    const { cpu } = inVmx();
    expect(() => cpu.writeCr(4, cpu.readCr(4) & ~VMXE)).toThrow(HostGeneralProtection);
    expect(() => cpu.writeCr(0, cpu.readCr(0) & ~0x20n)).toThrow(HostGeneralProtection);
    expect(cpu.vmxoff()).toBe(0);
    cpu.writeCr(4, cpu.readCr(4) & ~VMXE);
    expect(() => cpu.vmxoff()).toThrow(HostUndefinedOpcode);
  });
});

describe("VMCLEAR and VMPTRLD", () => {
  it("refuse with a number each", () => {
    const { cpu, page, region } = inVmx();
    cpu.vmptrld(page());
    const refused = (status: number): number => {
      expect(status).toBe(2);
      return cpu.vmread32(VMCS.VM_INSTRUCTION_ERROR);
    };
    expect(refused(cpu.vmclear(12))).toBe(VMX_INSTRUCTION_ERROR.VMCLEAR_INVALID_ADDRESS);
    expect(refused(cpu.vmclear(2 ** 46))).toBe(VMX_INSTRUCTION_ERROR.VMCLEAR_INVALID_ADDRESS);
    expect(refused(cpu.vmclear(region))).toBe(VMX_INSTRUCTION_ERROR.VMCLEAR_VMXON_POINTER);
    expect(refused(cpu.vmptrld(12))).toBe(VMX_INSTRUCTION_ERROR.VMPTRLD_INVALID_ADDRESS);
    expect(refused(cpu.vmptrld(region))).toBe(VMX_INSTRUCTION_ERROR.VMPTRLD_VMXON_POINTER);
    expect(refused(cpu.vmptrld(page(5)))).toBe(VMX_INSTRUCTION_ERROR.VMPTRLD_INCORRECT_VMCS_REVISION_ID);
    // A shadow VMCS has bit 31, which this processor does not know.
    expect(refused(cpu.vmptrld(page(0x80000004)))).toBe(VMX_INSTRUCTION_ERROR.VMPTRLD_INCORRECT_VMCS_REVISION_ID);
  });

  it("keep the current pointer when they refuse; VMCLEAR of the current VMCS leaves none", () => {
    const { cpu, page } = inVmx();
    expect(cpu.vmptrst()).toBe(-1);
    const vmcs = page();
    cpu.vmptrld(vmcs);
    cpu.vmptrld(page(5));
    expect(cpu.vmptrst()).toBe(vmcs);
    cpu.vmclear(vmcs);
    expect(cpu.vmptrst()).toBe(-1);
    cpu.vmread32(VMCS.GUEST_RIP);
    expect(cpu.vmxStatus).toBe(1);
    expect(cpu.vmwrite32(VMCS.GUEST_RIP, 1)).toBe(1);
  });

  it("keep the data of a VMCS in its region", () => {
    const { cpu, page } = inVmx();
    const [one, other] = [page(), page()];
    cpu.vmptrld(one);
    cpu.vmwrite(VMCS.GUEST_RSP, 0x1122334455667788n);
    cpu.vmptrld(other);
    expect(cpu.vmread(VMCS.GUEST_RSP)).toBe(0n);
    cpu.vmclear(one);
    cpu.vmptrld(one);
    expect(cpu.vmread(VMCS.GUEST_RSP)).toBe(0x1122334455667788n);
  });
});

describe("VMREAD and VMWRITE", () => {
  it("refuse a field that does not exist, for this profile too, and a read-only one", () => {
    const { cpu, page } = inVmx(profileNamed("skylake-server-no-ept"));
    cpu.vmptrld(page());
    for (const field of [0x1000, 0x7ffe, 0x2001 + 0x4000, VMCS.EPT_POINTER, VMCS.POSTED_INTR_NV, -1, 0x18000]) {
      cpu.vmread32(field);
      expect(cpu.vmxStatus).toBe(2);
      expect(cpu.vmread32(VMCS.VM_INSTRUCTION_ERROR)).toBe(VMX_INSTRUCTION_ERROR.UNSUPPORTED_VMCS_COMPONENT);
      expect(cpu.vmwrite32(field, 1)).toBe(2);
    }
    expect(cpu.vmwrite32(VMCS.VM_EXIT_REASON, 1)).toBe(2);
    expect(cpu.vmread32(VMCS.VM_INSTRUCTION_ERROR)).toBe(VMX_INSTRUCTION_ERROR.VMWRITE_READ_ONLY_VMCS_COMPONENT);
  });

  it("cut a value to the width of the field, and zero-extend what is narrower", () => {
    const { cpu, page } = inVmx();
    cpu.vmptrld(page());
    cpu.vmwrite(VMCS.GUEST_ES_SELECTOR, 0x12345678n);
    expect(cpu.vmread(VMCS.GUEST_ES_SELECTOR)).toBe(0x5678n);
    cpu.vmwrite(VMCS.GUEST_CS_LIMIT, 0x1_ffff_fffen);
    expect(cpu.vmread(VMCS.GUEST_CS_LIMIT)).toBe(0xffff_fffen);
    cpu.vmwrite(VMCS.GUEST_CR3, -1n);
    cpu.vmwrite32(VMCS.GUEST_CR3, 0xdeadbeef);
    expect(cpu.vmread(VMCS.GUEST_CR3)).toBe(0xdeadbeefn);
    cpu.vmwriteNumber(VMCS.EPT_POINTER, 0x12_3456_7000);
    expect(cpu.vmreadNumber(VMCS.EPT_POINTER)).toBe(0x12_3456_7000);
  });

  it("reach the high half of a 64-bit field alone", () => {
    const { cpu, page } = inVmx();
    cpu.vmptrld(page());
    cpu.vmwrite(VMCS.TSC_OFFSET, 0x1111111122222222n);
    expect(cpu.vmread32(VMCS.TSC_OFFSET + 1)).toBe(0x11111111);
    cpu.vmwrite32(VMCS.TSC_OFFSET + 1, 0x33333333);
    expect(cpu.vmread(VMCS.TSC_OFFSET)).toBe(0x3333333322222222n);
    // A natural-width field has no such access.
    expect(cpu.vmwrite32(VMCS.GUEST_CR3 + 1, 0)).toBe(2);
  });

  it("do the same by words", () => {
    const { cpu, page } = inVmx();
    cpu.vmptrld(page());
    const words = new Uint32Array(3).fill(7);
    expect(cpu.vmwriteWords(VMCS.GUEST_RIP, 0x80000001, 0xffffffff)).toBe(0);
    expect(cpu.vmreadWords(VMCS.GUEST_RIP, words, 1)).toBe(0);
    expect([...words]).toEqual([7, 0x80000001, 0xffffffff]);
    cpu.vmwrite32(VMCS.EXCEPTION_BITMAP, 5);
    cpu.vmreadWords(VMCS.EXCEPTION_BITMAP, words, 1);
    expect([...words]).toEqual([7, 5, 0]);
  });

  it("hold every field apart from every other", () => {
    const { cpu, page } = inVmx();
    cpu.vmptrld(page());
    const layout = new VmcsLayout(() => true);
    const writable = layout.fields.filter(({ type, encoding }) => {
      if (type === "read-only") return false;
      cpu.vmread32(encoding);
      return cpu.vmxStatus === 0;
    });
    expect(writable.length).toBeGreaterThan(100);
    const valueOf = (index: number, bytes: number): bigint =>
      BigInt.asUintN(bytes * 8, 0x0101010101010101n * BigInt((index % 250) + 1));
    writable.forEach((field, n) => cpu.vmwrite(field.encoding, valueOf(n, vmcsFieldBytes(field))));
    writable.forEach((field, n) => expect(cpu.vmread(field.encoding)).toBe(valueOf(n, vmcsFieldBytes(field))));
  });
});

describe("VMLAUNCH and VMRESUME", () => {
  it("obey the launch state", () => {
    const guest = new Guest().code(64, (a) => {
      a.cpuid();
      a.hlt();
    });
    const error = (): number => Number(guest.read("VM_INSTRUCTION_ERROR"));
    expect(guest.cpu.vmresume()).toBe(2);
    expect(error()).toBe(VMX_INSTRUCTION_ERROR.VMRESUME_NONLAUNCHED_VMCS);
    expect(guest.cpu.vmlaunch()).toBe(0);
    expect(guest.cpu.vmlaunch()).toBe(2);
    expect(error()).toBe(VMX_INSTRUCTION_ERROR.VMLAUNCH_NONCLEAR_VMCS);
    guest.cpu.vmclear(guest.vmcs);
    expect(guest.cpu.vmlaunch()).toBe(1);
    guest.cpu.vmptrld(guest.vmcs);
    expect(guest.cpu.vmlaunch()).toBe(0);
  });
});

describe("INVEPT and INVVPID", () => {
  it("refuse types and operands with error 28", () => {
    const { cpu, page } = inVmx();
    cpu.vmptrld(page());
    const eptp = 6 | (3 << 3) | 0x1000;
    for (const status of [
      cpu.invept(0, eptp),
      cpu.invept(3, eptp),
      cpu.invept(1, 1),
      cpu.invept(1, eptp ^ 8),
      cpu.invept(1, eptp | 0x80),
      cpu.invept(1, eptp + 2 ** 46),
      cpu.invvpid(4, 1, 0n),
      cpu.invvpid(1, 0, 0n),
      cpu.invvpid(0, 1, 0x8000_0000_0000n),
      cpu.invvpid(0, 0x10000, 0n),
    ]) {
      expect(status).toBe(2);
      expect(cpu.vmread32(VMCS.VM_INSTRUCTION_ERROR)).toBe(VMX_INSTRUCTION_ERROR.INVALID_OPERAND_TO_INVEPT_INVVPID);
    }
    const { cpu: withoutFlags, page: pageOf } = inVmx(profileNamed("skylake-server-no-ept-ad"));
    withoutFlags.vmptrld(pageOf());
    expect(withoutFlags.invept(1, eptp | 0x40)).toBe(2);
    expect([cpu.invept(1, eptp | 0x40), cpu.invept(2, 0), cpu.invvpid(0, 1, 0n), cpu.invvpid(2, 0, 0n)]).toEqual([
      0, 0, 0, 0,
    ]);
  });

  it("do not exist without EPT or VPID", () => {
    expect(() => inVmx(profileNamed("skylake-server-no-ept")).cpu.invept(2, 0)).toThrow(HostUndefinedOpcode);
    expect(() => inVmx(profileNamed("skylake-server-no-vpid")).cpu.invvpid(2, 0, 0n)).toThrow(HostUndefinedOpcode);
  });
});

describe("capability MSRs", () => {
  const low = (value: bigint): number => Number(value & 0xffffffffn);
  const high = (value: bigint): number => Number(value >> 32n);

  it.each(PROFILES.filter((p) => p.vmx !== undefined))("of $name agree with each other", (profile) => {
    const { cpu } = processor(profile);
    const pairs = [
      [MSR.IA32_VMX_PINBASED_CTLS, MSR.IA32_VMX_TRUE_PINBASED_CTLS],
      [MSR.IA32_VMX_PROCBASED_CTLS, MSR.IA32_VMX_TRUE_PROCBASED_CTLS],
      [MSR.IA32_VMX_EXIT_CTLS, MSR.IA32_VMX_TRUE_EXIT_CTLS],
      [MSR.IA32_VMX_ENTRY_CTLS, MSR.IA32_VMX_TRUE_ENTRY_CTLS],
    ] as const;
    const trueControls = ((cpu.rdmsr(MSR.IA32_VMX_BASIC) >> 55n) & 1n) === 1n;
    for (const [plain, exact] of pairs) {
      const value = cpu.rdmsr(plain);
      // What must be 1 may be 1.
      expect(low(value) & ~high(value)).toBe(0);
      if (!trueControls) expect(() => cpu.rdmsr(exact)).toThrow(HostGeneralProtection);
      else {
        expect(high(cpu.rdmsr(exact))).toBe(high(value));
        expect(low(cpu.rdmsr(exact)) & ~low(value)).toBe(0);
      }
      expect(() => cpu.wrmsr(plain, value)).toThrow(HostGeneralProtection);
    }
  });

  it("leave out what a profile lacks", () => {
    const secondary = (name: string): number =>
      high(processor(profileNamed(name)).cpu.rdmsr(MSR.IA32_VMX_PROCBASED_CTLS2));
    expect(secondary("skylake-server") & 0xa2).toBe(0xa2);
    expect(secondary("skylake-server-no-ept") & 0x82).toBe(0);
    expect(secondary("skylake-server-no-unrestricted") & 0x82).toBe(2);
    expect(secondary("skylake-server-no-vpid") & 0x20).toBe(0);
    const old = processor(profileNamed("skylake-server-no-secondary")).cpu;
    expect(() => old.rdmsr(MSR.IA32_VMX_PROCBASED_CTLS2)).toThrow(HostGeneralProtection);
    const noTimer = processor(profileNamed("skylake-server-no-preemption-timer")).cpu;
    expect(high(noTimer.rdmsr(MSR.IA32_VMX_PINBASED_CTLS)) & 0x40).toBe(0);
  });

  it("name the highest index of a field that exists", () => {
    const { cpu } = processor();
    const layout = new VmcsLayout(() => true);
    expect(Number(cpu.rdmsr(MSR.IA32_VMX_VMCS_ENUM) >> 1n)).toBeLessThanOrEqual(layout.highestIndex);
  });
});
