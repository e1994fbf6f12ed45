import {
  Assembler,
  CPU_BASED,
  EPT,
  MSR,
  SECONDARY_EXEC,
  VMCS,
  VM_ENTRY,
  VM_EXIT,
  type VmcsFieldName,
} from "@tapvisor/x86-isa";
import {
  SKYLAKE_SERVER,
  createHost,
  type Processor,
  type ProcessorProfile,
  type SoftwareHost,
} from "@tapvisor/x86-cpu";

/** Guest-physical address that the code of a test is put at, which is its linear address too. */
export const CODE = 0x8000;
/** Base of guest-physical memory in the host's RAM. */
const GUEST_BASE = 0x200000;
const GUEST_BYTES = 0x200000;
/** Page tables of a guest in long mode: one gigabyte of identity map in pages of 2 MiB. */
const PML4 = 0x1000;
export const GDT = 0x4000;
export const IDT = 0x5000;
export const STACK = 0x7000;

export const SELECTOR = { CODE64: 0x08, DATA: 0x10, CODE32: 0x18, TSS: 0x20 } as const;

export type Mode = "long" | "protected" | "real";

/** One processor in VMX operation with a VMCS that passes every check, and a guest at {@link CODE}. */
export class Guest {
  readonly host: SoftwareHost;
  readonly cpu: Processor;
  readonly vmcs: number;
  readonly eptp: number;

  constructor(mode: Mode = "long", profile: ProcessorProfile = SKYLAKE_SERVER) {
    this.host = createHost({ profile, ramBytes: 16 << 20 });
    const cpu = this.host.processors[0];
    if (cpu === undefined) throw new Error("a host has a processor");
    this.cpu = cpu;
    const { memory } = this.host;
    cpu.writeCr(4, cpu.readCr(4) | 0x2000n);
    const region = memory.allocatePage();
    const revision = Number(cpu.rdmsr(MSR.IA32_VMX_BASIC) & 0x7fffffffn);
    memory.writeU32(region, revision);
    if (cpu.vmxon(region) !== 0) throw new Error("VMXON");
    this.vmcs = memory.allocatePage();
    memory.writeU32(this.vmcs, revision);
    cpu.vmclear(this.vmcs);
    cpu.vmptrld(this.vmcs);
    // The guest's memory is taken from the top of the allocator's way.
    this.eptp = this.#ept();
    this.#controls();
    this.#hostState();
    this.#guestState(mode);
    this.#tables();
  }

  /** Assemble code at {@link CODE}. */
  code(bits: 16 | 32 | 64, write: (a: Assembler) => void): this {
    const a = new Assembler(bits);
    write(a);
    const { bytes } = a.assemble(CODE);
    this.put(CODE, bytes);
    return this;
  }

  put(gpa: number, bytes: Uint8Array): void {
    this.host.memory.view(GUEST_BASE + gpa, bytes.length).set(bytes);
    this.host.memory.written(GUEST_BASE + gpa, bytes.length);
  }

  /** Host physical address of a guest-physical one. */
  at(gpa: number): number {
    return GUEST_BASE + gpa;
  }

  read(name: VmcsFieldName): bigint {
    return this.cpu.vmread(VMCS[name]);
  }

  write(name: VmcsFieldName, value: bigint | number): void {
    const status = this.cpu.vmwrite(VMCS[name], BigInt(value));
    if (status !== 0) throw new Error(`VMWRITE ${name}: ${status}`);
  }

  /** Set bits of a field of controls. */
  set(name: VmcsFieldName, bits: number): void {
    this.write(name, this.read(name) | BigInt(bits >>> 0));
  }

  clear(name: VmcsFieldName, bits: number): void {
    this.write(name, this.read(name) & ~BigInt(bits >>> 0));
  }

  gpr(index: number): bigint {
    return BigInt(this.cpu.gprs[index * 2] as number) | (BigInt(this.cpu.gprs[index * 2 + 1] as number) << 32n);
  }

  setGpr(index: number, value: bigint): void {
    this.cpu.gprs[index * 2] = Number(value & 0xffffffffn);
    this.cpu.gprs[index * 2 + 1] = Number((value >> 32n) & 0xffffffffn);
  }

  launched = false;

  /** Enter the guest; returns the exit reason, or throws on VMfail with the error number. */
  run(): number {
    const status = this.launched ? this.cpu.vmresume() : this.cpu.vmlaunch();
    if (status !== 0) throw new Error(`VMfail ${status}, error ${this.read("VM_INSTRUCTION_ERROR")}`);
    const reason = Number(this.read("VM_EXIT_REASON"));
    if (reason < 0x80000000) this.launched = true;
    return reason;
  }

  /** Go on after the instruction that exited. */
  skip(): void {
    this.write("GUEST_RIP", this.read("GUEST_RIP") + this.read("VM_EXIT_INSTRUCTION_LEN"));
  }

  #ept(): number {
    const { memory } = this.host;
    const pml4 = memory.allocatePage();
    const pdpt = memory.allocatePage();
    const pd = memory.allocatePage();
    memory.writeU64(pml4, BigInt(pdpt | EPT.RWX));
    memory.writeU64(pdpt, BigInt(pd | EPT.RWX));
    for (let i = 0; i < GUEST_BYTES / 0x200000; i++) {
      memory.writeU64(pd + i * 8, BigInt((GUEST_BASE + i * 0x200000) | EPT.RWX | EPT.LARGE_PAGE | (6 << 3)));
    }
    return pml4 | 6 | (3 << 3);
  }

  #controls(): void {
    const must = (msr: number): number => Number(this.cpu.rdmsr(msr) & 0xffffffffn);
    const offered = Number(this.cpu.rdmsr(MSR.IA32_VMX_PROCBASED_CTLS) >> 32n);
    this.write("PIN_BASED_VM_EXEC_CONTROL", must(MSR.IA32_VMX_TRUE_PINBASED_CTLS));
    const secondary = offered & CPU_BASED.ACTIVATE_SECONDARY_CONTROLS;
    this.write(
      "CPU_BASED_VM_EXEC_CONTROL",
      (must(MSR.IA32_VMX_TRUE_PROCBASED_CTLS) | CPU_BASED.HLT_EXITING | secondary) >>> 0,
    );
    this.write("SECONDARY_VM_EXEC_CONTROL", SECONDARY_EXEC.ENABLE_EPT | SECONDARY_EXEC.UNRESTRICTED_GUEST);
    this.write("VM_EXIT_CONTROLS", must(MSR.IA32_VMX_TRUE_EXIT_CTLS) | VM_EXIT.HOST_ADDR_SPACE_SIZE);
    this.write("VM_ENTRY_CONTROLS", must(MSR.IA32_VMX_TRUE_ENTRY_CTLS));
    this.write("EPT_POINTER", this.eptp);
    this.write("VMCS_LINK_POINTER", 0xffffffffffffffffn);
  }

  #hostState(): void {
    const { cpu } = this;
    this.write("HOST_CR0", cpu.readCr(0));
    this.write("HOST_CR3", cpu.readCr(3));
    this.write("HOST_CR4", cpu.readCr(4));
    this.write("HOST_CS_SELECTOR", cpu.readSegment("cs").selector);
    this.write("HOST_SS_SELECTOR", cpu.readSegment("ss").selector);
    this.write("HOST_TR_SELECTOR", cpu.readSegment("tr").selector);
    this.write("HOST_RIP", 0xffffffff81000000n);
    this.write("HOST_RSP", 0xffff880000001000n);
  }

  #guestState(mode: Mode): void {
    const long = mode === "long";
    const real = mode === "real";
    const rights = real ? { code: 0x9b, data: 0x93 } : { code: long ? 0xa09b : 0xc09b, data: 0xc093 };
    const limit = real ? 0xffff : 0xffffffff;
    this.write("GUEST_CR0", long ? 0x80000031n : real ? 0x30n : 0x31n);
    this.write("GUEST_CR4", long ? 0x2020n : 0x2000n);
    this.write("GUEST_CR3", long ? PML4 : 0);
    if (long) this.set("VM_ENTRY_CONTROLS", VM_ENTRY.IA32E_MODE);
    for (const name of ["ES", "SS", "DS", "FS", "GS"] as const) {
      this.write(`GUEST_${name}_SELECTOR`, real ? 0 : SELECTOR.DATA);
      this.write(`GUEST_${name}_LIMIT`, limit);
      this.write(`GUEST_${name}_AR_BYTES`, rights.data);
    }
    this.write("GUEST_CS_SELECTOR", real ? 0 : long ? SELECTOR.CODE64 : SELECTOR.CODE32);
    this.write("GUEST_CS_LIMIT", limit);
    this.write("GUEST_CS_AR_BYTES", rights.code);
    this.write("GUEST_LDTR_AR_BYTES", 0x10000);
    this.write("GUEST_TR_SELECTOR", SELECTOR.TSS);
    this.write("GUEST_TR_BASE", 0x6000);
    this.write("GUEST_TR_LIMIT", 0x67);
    this.write("GUEST_TR_AR_BYTES", 0x8b);
    this.write("GUEST_GDTR_BASE", GDT);
    this.write("GUEST_GDTR_LIMIT", 0x2f);
    this.write("GUEST_IDTR_BASE", real ? 0 : IDT);
    this.write("GUEST_IDTR_LIMIT", long ? 0xfff : 0x7ff);
    this.write("GUEST_RFLAGS", 2);
    this.write("GUEST_RIP", CODE);
    this.write("GUEST_RSP", STACK);
    this.write("GUEST_DR7", 0x400);
  }

  /** Page tables, GDT, and an IDT of 64-bit interrupt gates that all lead to a HLT of their own, 0x9000 + vector. */
  #tables(): void {
    const { memory } = this.host;
    memory.writeU64(this.at(PML4), 0x2003n);
    memory.writeU64(this.at(0x2000), 0x3003n);
    memory.writeU64(this.at(0x3000), 0x83n);
    const gdt = [0n, 0x00af9b000000ffffn, 0x00cf93000000ffffn, 0x00cf9b000000ffffn, 0x00008b0060000067n, 0n];
    gdt.forEach((entry, n) => memory.writeU64(this.at(GDT + n * 8), entry));
    for (let vector = 0; vector < 256; vector++) {
      const handler = BigInt(HANDLERS + vector);
      const gate = (handler & 0xffffn) | (BigInt(SELECTOR.CODE64) << 16n) | (0x8en << 40n);
      memory.writeU64(this.at(IDT + vector * 16), gate);
    }
    this.put(HANDLERS, new Uint8Array(256).fill(0xf4));
  }
}

/** Each vector's handler is one HLT at this address plus the vector. */
export const HANDLERS = 0x9000;
