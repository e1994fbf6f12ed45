import { describe, expect, it } from "vitest";
import {
  bitNames,
  capability,
  capabilityBits,
  CPUID,
  CPUID_FEATURES,
  CR0,
  describeVmcsField,
  EXCEPTIONS,
  EXIT_REASON,
  exceptionClass,
  exitReasonName,
  MSR,
  msrName,
  VECTOR,
  VMCS,
  VMCS_ENCODING_RESERVED,
  VMCS_FIELDS,
  VMX_BASIC,
  VMX_EPT_VPID_CAP,
  VMX_MISC,
  vmcsField,
  vmcsFieldBytes,
} from "../../src/index.js";

describe("VMCS fields", () => {
  it("have encodings of their own, without reserved bits and with full access", () => {
    expect(new Set(VMCS_FIELDS.map((f) => f.encoding)).size).toBe(VMCS_FIELDS.length);
    for (const { encoding } of VMCS_FIELDS) expect(encoding & (VMCS_ENCODING_RESERVED | 1)).toBe(0);
  });
  it("have the type that their name tells", () => {
    for (const { name, type } of VMCS_FIELDS) {
      if (name.startsWith("HOST_")) expect(type, name).toBe("host");
      const guest = name.startsWith("GUEST_") && !["GUEST_PHYSICAL_ADDRESS", "GUEST_LINEAR_ADDRESS"].includes(name);
      if (guest) expect(type, name).toBe("guest");
    }
  });
  it("spell width, type and index in the encoding", () => {
    expect(describeVmcsField(VMCS.GUEST_RIP)).toEqual({
      encoding: 0x681e,
      width: "natural",
      type: "guest",
      index: 15,
    });
    expect(vmcsField(VMCS.TSC_OFFSET | 1)).toMatchObject({ name: "TSC_OFFSET", width: 64, type: "control" });
    expect(vmcsField(VMCS.VM_EXIT_REASON)).toMatchObject({ width: 32, type: "read-only" });
    expect(vmcsFieldBytes({ width: "natural" })).toBe(8);
  });
  it("do not exist for unknown encodings, nor have a high half unless they are 64 bits wide", () => {
    expect(vmcsField(0x6830)).toBeUndefined();
    expect(vmcsField(VMCS.GUEST_RIP | 1)).toBeUndefined();
    expect(vmcsField(VMCS.GUEST_ES_LIMIT | 1)).toBeUndefined();
  });
});

describe("names", () => {
  it("of exit reasons ignore the flags above bit 15, and fall back to the number", () => {
    expect(exitReasonName(0x80000000 | EXIT_REASON.INVALID_GUEST_STATE)).toBe("EXIT_REASON_INVALID_GUEST_STATE");
    expect(exitReasonName(35)).toBe("EXIT_REASON_35");
  });
  it("of MSRs cover the numbered banks", () => {
    expect(MSR.IA32_MC3_STATUS).toBe(0x40d);
    expect(msrName(0x20f)).toBe("IA32_MTRR_PHYSMASK7");
    expect(msrName(0xc0000080)).toBe("IA32_EFER");
    expect(msrName(0x12345)).toBe("MSR 0x12345");
  });
  it("of bits come in order of declaration", () => {
    expect(bitNames(CR0, 0x80000011n)).toEqual(["PE", "ET", "PG"]);
  });
});

describe("exceptions", () => {
  it("with an error code are those of the manual", () => {
    const vectors = EXCEPTIONS.filter((e) => e.errorCode).map((e) => e.vector);
    expect(vectors).toEqual([8, 10, 11, 12, 13, 14, 17, 21]);
  });
  it("have their classes for the double fault; unknown vectors are benign", () => {
    expect(exceptionClass(VECTOR.GP)).toBe("contributory");
    expect(exceptionClass(VECTOR.PF)).toBe("page-fault");
    expect(exceptionClass(VECTOR.UD)).toBe("benign");
    expect(exceptionClass(0x80)).toBe("benign");
  });
});

describe("CPUID features", () => {
  it("have names and places of their own", () => {
    expect(new Set(CPUID_FEATURES.map((f) => f.name)).size).toBe(CPUID_FEATURES.length);
    const places = CPUID_FEATURES.map((f) => `${f.leaf}.${f.subleaf}.${f.register}.${f.bit}`);
    expect(new Set(places).size).toBe(places.length);
    expect(CPUID.SMEP).toEqual({ name: "SMEP", leaf: 7, subleaf: 0, register: "ebx", bit: 7 });
  });
});

describe("capability MSRs", () => {
  it("are read and made by bit field", () => {
    const basic = capabilityBits(VMX_BASIC.REVISION_ID, 17) | capabilityBits(VMX_BASIC.REGION_SIZE, 4096);
    expect(basic).toBe((4096n << 32n) | 17n);
    expect(capability(basic, VMX_BASIC.REGION_SIZE)).toBe(4096);
    expect(() => capabilityBits(VMX_BASIC.DUAL_MONITOR, 2)).toThrow(RangeError);
  });
  it("have fields that do not overlap", () => {
    for (const table of [VMX_BASIC, VMX_MISC, VMX_EPT_VPID_CAP]) {
      let used = 0n;
      for (const { shift, width } of Object.values(table)) {
        const bits = ((1n << BigInt(width)) - 1n) << BigInt(shift);
        expect(used & bits).toBe(0n);
        used |= bits;
      }
    }
  });
});
