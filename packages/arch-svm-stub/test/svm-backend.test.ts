import { describe, expect, it } from "vitest";
import {
  DEFAULT_HOST_OPTIONS,
  HostGeneralProtection,
  KvmError,
  OPS,
  type Host,
  type KvmExports,
  type KvmX86Ops,
  type LogicalProcessor,
  type PhysicalMemory,
} from "@tapvisor/kvm-core/contract";
import { assemble, registerCore, type GenericLayer, type KvmCore } from "@tapvisor/kvm-core";
import { EFER, MSR } from "@tapvisor/x86-isa";
import { svmBackend } from "../src/index.js";

interface Machine {
  readonly vendor: "AuthenticAMD" | "GenuineIntel";
  readonly svm?: boolean;
  readonly vmCr?: bigint;
  readonly pages?: number;
}

function words(text: string): { ebx: number; edx: number; ecx: number } {
  const view = new DataView(new TextEncoder().encode(text).buffer);
  return { ebx: view.getUint32(0, true), edx: view.getUint32(4, true), ecx: view.getUint32(8, true) };
}

/** A processor that has CPUID and MSRs and nothing else. */
function processor(id: number, { vendor, svm = true, vmCr = 0n }: Machine): LogicalProcessor {
  const msrs = new Map<number, bigint>([[MSR.IA32_EFER, EFER.LME | EFER.LMA]]);
  if (vendor === "AuthenticAMD") msrs.set(MSR.VM_CR, vmCr).set(MSR.VM_HSAVE_PA, 0n);
  const access = (index: number) => {
    const value = msrs.get(index);
    if (value === undefined) throw new HostGeneralProtection(`RDMSR 0x${index.toString(16)}`);
    return value;
  };
  const none = { eax: 0, ebx: 0, ecx: 0, edx: 0 };
  return {
    id,
    online: true,
    cpuid: (leaf: number) => {
      if (leaf === 0) return { eax: 0xd, ...words(vendor) };
      if (leaf === 0x80000000) return { ...none, eax: 0x8000000a };
      // LAHF and SVM; NX and RDTSCP.
      if (leaf === 0x80000001) return { ...none, ecx: svm ? 4 : 0, edx: (1 << 20) | (1 << 27) };
      if (leaf === 0x8000000a) return { eax: 1, ebx: 32768, ecx: 0, edx: 0b1001 };
      return none;
    },
    rdmsr: access,
    wrmsr: (index: number, value: bigint) => {
      access(index);
      msrs.set(index, value);
    },
  } as unknown as LogicalProcessor;
}

function memoryOf(pages: number): PhysicalMemory & { readonly inUse: () => number } {
  const used = new Set<number>();
  const bytes = new Uint8Array(pages * 4096);
  const allocatePages = (count: number) => {
    for (let base = 0; base + count <= pages; base++) {
      const range = Array.from({ length: count }, (_, i) => base + i);
      if (range.some((page) => used.has(page))) continue;
      range.forEach((page) => used.add(page));
      return base * 4096;
    }
    throw new KvmError("ENOMEM", "allocatePages");
  };
  return {
    allocatePage: () => allocatePages(1),
    allocatePages,
    freePages: (base: number, count: number) => {
      for (let i = 0; i < count; i++) if (!used.delete(base / 4096 + i)) throw new Error("freed twice");
    },
    view: (address: number, length: number) => bytes.subarray(address, address + length),
    inUse: () => used.size,
  } as unknown as PhysicalMemory & { readonly inUse: () => number };
}

function setUp(machine: Machine) {
  const processors = [processor(0, machine), processor(1, machine)];
  let current = 0;
  const memory = memoryOf(machine.pages ?? 16);
  const host = {
    processors,
    memory,
    options: DEFAULT_HOST_OPTIONS,
    clock: { now: () => 0 },
    scheduler: {
      current: () => processors[current],
      runOn: <T>(cpu: number, work: () => T): T => {
        const was = current;
        current = cpu;
        try {
          return work();
        } finally {
          current = was;
        }
      },
    },
  } as unknown as Host;
  const told: string[] = [];
  const kvm = {
    enableTdp: () => told.push("enableTdp"),
    disableTdp: () => told.push("disableTdp"),
    enableEferBits: (mask: bigint) => told.push(`EFER ${String(mask)}`),
  } as unknown as KvmExports;
  const nothing = () => undefined;
  const layer: GenericLayer = { exports: kvm, archInit: nothing, archExit: nothing, hardwareSetup: nothing };
  const compose = (): KvmCore =>
    assemble(registerCore({ host, backends: [svmBackend] }), (core) => ({ core, layer })).core;
  return { compose, memory, told, processors, host, kvm };
}

describe("arch-svm-stub", () => {
  it("refuses an Intel processor with EOPNOTSUPP, and touches nothing", () => {
    const { compose, memory } = setUp({ vendor: "GenuineIntel" });
    expect(compose).toThrow(expect.objectContaining({ code: "EOPNOTSUPP", errno: -95, syscall: "kvm_init" }));
    expect(compose).toThrow(/svm: no hardware support/);
    expect(memory.inUse()).toBe(0);
  });

  it("refuses an AMD processor without SVM, and one whose firmware disabled it", () => {
    expect(setUp({ vendor: "AuthenticAMD", svm: false }).compose).toThrow(/no hardware support/);
    expect(setUp({ vendor: "AuthenticAMD", vmCr: 1n << 4n }).compose).toThrow(/disabled by the firmware/);
  });

  it("probes, sets up and registers on an AMD processor", () => {
    const { compose, memory, told } = setUp({ vendor: "AuthenticAMD" });
    const core = compose();
    expect(core.backend?.name).toBe("svm");
    // Three pages of I/O permissions and a save area a processor.
    expect(memory.inUse()).toBe(5);
    expect(memory.view(0, 3 * 4096).every((byte) => byte === 0xff)).toBe(true);
    expect(told).toEqual([`EFER ${String(EFER.NXE)}`, "enableTdp"]);
  });

  it("frees what it took when memory runs out, and passes ENOMEM on", () => {
    const { compose, memory } = setUp({ vendor: "AuthenticAMD", pages: 4 });
    expect(compose).toThrow(expect.objectContaining({ code: "ENOMEM" }));
    expect(memory.inUse()).toBe(0);
  });

  it("frees everything in hardware_unsetup", () => {
    const { compose, memory } = setUp({ vendor: "AuthenticAMD" });
    compose().ops.hardware_unsetup();
    expect(memory.inUse()).toBe(0);
  });

  it("switches SVM on and off on each processor, and refuses one that is in use", () => {
    const { compose, processors, host } = setUp({ vendor: "AuthenticAMD" });
    const { ops } = compose();
    for (const cpu of [0, 1]) host.scheduler.runOn(cpu, () => ops.hardware_enable());
    const [first, second] = processors;
    expect(first?.rdmsr(MSR.IA32_EFER)).toBe(EFER.LME | EFER.LMA | EFER.SVME);
    expect(first?.rdmsr(MSR.VM_HSAVE_PA)).not.toBe(second?.rdmsr(MSR.VM_HSAVE_PA));
    expect(() => ops.hardware_enable()).toThrow(expect.objectContaining({ code: "EBUSY", syscall: "hardware_enable" }));
    ops.hardware_disable();
    expect(first?.rdmsr(MSR.IA32_EFER)).toBe(EFER.LME | EFER.LMA);
    expect(first?.rdmsr(MSR.VM_HSAVE_PA)).toBe(0n);
  });

  it("describes SVM's own CPUID leaf and no other", () => {
    const { ops } = setUp({ vendor: "AuthenticAMD" }).compose();
    const entry = { function: 0x8000000a, index: 0, significantIndex: false, eax: 7, ebx: 7, ecx: 7, edx: 7 };
    ops.set_supported_cpuid(1, entry);
    expect(entry.eax).toBe(7);
    ops.set_supported_cpuid(0x8000000a, entry);
    expect(entry).toMatchObject({ eax: 1, ebx: 8, ecx: 0, edx: 8 });
    expect(ops.rdtscp_supported()).toBe(true);
    expect(ops.xsaves_supported()).toBe(false);
  });

  it("says ENOSYS in the op's own name wherever a vCPU is needed", () => {
    const { host, kvm } = setUp({ vendor: "AuthenticAMD" });
    const { ops } = svmBackend.create({ host, kvm, ops: {} as never });
    const needsVcpu = Object.entries(OPS).filter(
      ([name, { kind, args }]) => kind === "op" && (args[0] === "vcpu" || name === "vcpu_create"),
    );
    expect(needsVcpu.length).toBeGreaterThan(70);
    for (const [name] of needsVcpu) {
      expect(functionOf(ops, name), name).toThrow(
        expect.objectContaining({ code: "ENOSYS", errno: -38, syscall: name }),
      );
    }
  });
});

function functionOf(ops: KvmX86Ops, name: string): () => unknown {
  const [table, member] = name.startsWith("pmu_ops.") ? [ops.pmu_ops, name.slice(8)] : [ops, name];
  return (table as unknown as Record<string, () => unknown>)[member] as () => unknown;
}
