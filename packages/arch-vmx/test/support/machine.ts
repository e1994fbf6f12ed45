import { KvmCore, kvmInit } from "@tapvisor/kvm-core";
import {
  DEFAULT_HOST_OPTIONS, OP_NAMES, REG, VcpuArch, type CpuidEntry, type Host, type HostOptions, type KvmExports, type MsrAccess,
  type OpCall, type PhysicalMemory, type Segment, type Vcpu, type Vm,
} from "@tapvisor/kvm-core/contract"; // prettier-ignore
import { CR0, CR4, EFER, EXIT_REASON, VMCS } from "@tapvisor/x86-isa";
import { vmxBackend } from "../../src/index.js";
import type { VmxProcessor } from "../../src/processor.js";
import { VM_SUCCEED } from "../../src/processor.js";
import { FakeVmxProcessor } from "./fake-processor.js";

const PAGE = 4096;

/** Host RAM with a bump allocator that counts what is taken. */
export class FakeMemory implements PhysicalMemory {
  readonly size: number;
  readonly bytes: Uint8Array;
  readonly view32: DataView;
  readonly free: number[] = [];

  constructor(readonly pages: number) {
    this.size = pages * PAGE;
    this.bytes = new Uint8Array(this.size);
    this.view32 = new DataView(this.bytes.buffer);
    for (let i = pages - 1; i > 0; i--) this.free.push(i * PAGE);
  }
  allocatePage(): number {
    const page = this.free.pop();
    if (page === undefined) throw new Error("out of pages");
    this.bytes.fill(0, page, page + PAGE);
    return page;
  }
  allocatePages(): number {
    throw new Error("not used");
  }
  freePages(base: number, count: number): void {
    for (let i = 0; i < count; i++) this.free.push(base + i * PAGE);
  }
  readU8(a: number): number {
    return this.view32.getUint8(a);
  }
  readU16(a: number): number {
    return this.view32.getUint16(a, true);
  }
  readU32(a: number): number {
    return this.view32.getUint32(a, true);
  }
  readU64(a: number): bigint {
    return this.view32.getBigUint64(a, true);
  }
  writeU8(a: number, v: number): void {
    this.view32.setUint8(a, v);
  }
  writeU16(a: number, v: number): void {
    this.view32.setUint16(a, v, true);
  }
  writeU32(a: number, v: number): void {
    this.view32.setUint32(a, v, true);
  }
  writeU64(a: number, v: bigint): void {
    this.view32.setBigUint64(a, v, true);
  }
  view(a: number, length: number): Uint8Array {
    return this.bytes.subarray(a, a + length);
  }
  written(): void {}
}

/** What the core was asked for, in order: `queueException 6`. */
export class FakeKvm {
  readonly calls: string[] = [];
  readonly features = new Set<string>(["RDTSCP"]);
  readonly commonMsrs = new Map<number, bigint>();
  cpuid: CpuidEntry[] = [];
  /** Answers of `emulateInstruction`, in turn; then "done". */
  emulation: ("done" | "user_exit" | "fail")[] = [];
  lapicInKernel = true;
  hvTimerInUse = false;

  /** Set once the core exists. */
  core: KvmCore | undefined;

  private get ops() {
    if (this.core === undefined) throw new Error("no core");
    return this.core.ops;
  }

  /** The core's exports, as far as the backend calls them; any other is recorded and answers undefined. */
  get exports(): KvmExports {
    const given: Partial<KvmExports> = {
      vcpuInit: (vm, id, backendState) => this.#vcpu(vm, id, backendState),
      isBootProcessor: (vcpu) => vcpu.id === 0,
      makeRequest: (vcpu, request) => {
        vcpu.arch.requests |= 1 << request;
      },
      registerReadL: (vcpu, reg) => vcpu.arch.regs.u64[reg] ?? 0n,
      registerWrite: (vcpu, reg, value) => {
        vcpu.arch.regs.u64[reg] = value;
      },
      ripRead: (vcpu) => {
        if ((vcpu.arch.regsAvail & (1 << REG.RIP)) === 0) this.ops.cache_reg(vcpu, REG.RIP);
        return vcpu.arch.regs.u64[REG.RIP] ?? 0n;
      },
      ripWrite: (vcpu, value) => {
        vcpu.arch.regs.u64[REG.RIP] = value;
        vcpu.arch.regsAvail |= 1 << REG.RIP;
        vcpu.arch.regsDirty |= 1 << REG.RIP;
      },
      readCr0: (vcpu, mask = ~0n) => {
        this.ops.decache_cr0_guest_bits(vcpu);
        return vcpu.arch.cr0 & mask;
      },
      readCr3: (vcpu) => vcpu.arch.cr3,
      readCr4: (vcpu, mask = ~0n) => vcpu.arch.cr4 & mask,
      isLongMode: (vcpu) => (vcpu.arch.efer & EFER.LMA) !== 0n,
      isPaging: (vcpu) => (vcpu.arch.cr0 & CR0.PG) !== 0n,
      isPae: (vcpu) => (vcpu.arch.cr4 & CR4.PAE) !== 0n,
      isProtectedMode: (vcpu) => (vcpu.arch.cr0 & CR0.PE) !== 0n,
      getMsrCommon: (_vcpu, msr) => {
        const value = this.commonMsrs.get(msr.index);
        if (value === undefined) return true;
        msr.data = value;
        return false;
      },
      setMsr: (vcpu, msr: MsrAccess) => this.ops.set_msr(vcpu, msr),
      setMsrCommon: (_vcpu, { index, data }) => {
        if (!this.commonMsrs.has(index)) return true;
        this.commonMsrs.set(index, data);
        return false;
      },
      guestCpuidHas: (_vcpu, feature) => this.features.has(feature),
      findCpuidEntry: (_vcpu, leaf, subleaf) => this.cpuid.find((e) => e.function === leaf && e.index === subleaf),
      setSharedMsr: (slot, value) => {
        this.calls.push(`setSharedMsr ${slot} 0x${value.toString(16)}`);
        return false;
      },
      emulateInstruction: (_vcpu, options) => {
        this.calls.push(`emulateInstruction ${JSON.stringify(options ?? {})}`);
        return this.emulation.shift() ?? "done";
      },
      requireDr: () => true,
      requireCpl: () => true,
      setPrivateSlot: (_vm, id, address) => {
        this.calls.push(`setPrivateSlot ${id} 0x${address.toString(16)}`);
        return 0;
      },
      writeGuest: () => true,
      clearGuestPage: () => true,
      lapicInKernel: () => this.lapicInKernel,
      lapicHvTimerInUse: () => this.hvTimerInUse,
      hasNoncoherentDma: () => false,
      passThroughPort: () => true,
      handleMmioPageFault: () => "emulate",
      mmuPageFault: (_vcpu, address, code) => {
        this.calls.push(`mmuPageFault 0x${address.toString(16)} ${code}`);
        return true;
      },
      fastPio: (_vcpu, direction, size, port) => {
        this.calls.push(`fastPio ${direction} ${size} 0x${port.toString(16)}`);
        return false;
      },
      readL1Tsc: () => 0n,
      getCr8: () => 0n,
      taskSwitch: (_vcpu, selector, idt, reason, code) => {
        this.calls.push(`taskSwitch ${selector} ${idt} ${reason} ${code ?? "none"}`);
        return "done";
      },
      injectRealmodeInterrupt: (_vcpu, irq, inc) => {
        this.calls.push(`injectRealmodeInterrupt ${irq} ${inc}`);
        return "done";
      },
      setCr8: () => false,
      setXcr: () => false,
      setDr: () => false,
    };
    return new Proxy(given as KvmExports, {
      get: (target, name: keyof KvmExports) =>
        target[name] ??
        ((...args: unknown[]): unknown => {
          const shown = args.filter((arg) => typeof arg !== "object").map((arg) => ` ${String(arg)}`);
          this.calls.push(`${name}${shown.join("")}`);
          return undefined;
        }),
    });
  }

  #vcpu(vm: Vm, id: number, backendState: object): Vcpu {
    const arch = new VcpuArch();
    // Only state: no test calls the API of a vCPU.
    return { id, vm, arch, backendState, cpu: -1, exit: undefined, inGuestMode: false } as unknown as Vcpu;
  }
}

export interface MachineOptions {
  readonly processors?: number;
  readonly options?: Partial<HostOptions>;
  readonly prepare?: (cpu: FakeVmxProcessor) => void;
}

/** A host with fake processors and a core with arch-vmx on it; `init` registers the backend. */
export class TestMachine {
  readonly cpus: FakeVmxProcessor[];
  readonly memory = new FakeMemory(64);
  readonly kvm = new FakeKvm();
  readonly core: KvmCore;
  /** The ops, as the core calls them. */
  readonly ops;
  readonly host: Host<VmxProcessor>;
  now = 0;
  #current = 0;

  constructor({ processors = 1, options = {}, prepare }: MachineOptions = {}) {
    this.cpus = Array.from({ length: processors }, (_, id) => new FakeVmxProcessor(id));
    if (prepare !== undefined) this.cpus.forEach(prepare);
    const unused = (): never => {
      throw new Error("not used");
    };
    this.host = {
      memory: this.memory,
      processors: this.cpus,
      clock: {
        now: () => this.now,
        cycles: () => this.now,
        tscKhz: 1_000_000,
        charge: (cycles) => void (this.now += cycles),
        advanceTo: unused,
      },
      timers: { create: unused, next: () => undefined, runDue: () => 0 },
      scheduler: {
        current: () => this.cpu(this.#current),
        runOn: (cpu, work) => {
          const before = this.#current;
          this.#current = cpu;
          try {
            return work();
          } finally {
            this.#current = before;
          }
        },
        quantumCycles: 1_000_000,
      },
      options: { ...DEFAULT_HOST_OPTIONS, ...options },
    };
    this.core = new KvmCore(this.host);
    this.kvm.core = this.core;
    this.ops = this.core.ops;
  }

  cpu(id = 0): FakeVmxProcessor {
    const cpu = this.cpus[id];
    if (cpu === undefined) throw new Error(`no processor ${id}`);
    return cpu;
  }

  init(): this {
    kvmInit(this.core, vmxBackend, {
      exports: this.kvm.exports,
      archInit: () => undefined,
      archExit: () => undefined,
      hardwareSetup: () => undefined,
    });
    return this;
  }

  on<T>(cpu: number, work: () => T): T {
    return this.host.scheduler.runOn(cpu, work);
  }

  enable(): this {
    for (const { id } of this.cpus) this.on(id, () => this.ops.hardware_enable());
    return this;
  }

  /** A vCPU after reset, loaded on processor 0, with nothing in the log of calls. */
  vcpu(): Vcpu {
    if (this.core.backend === undefined) this.init().enable();
    const vm = { id: 0, vcpus: [], backendState: undefined } as unknown as Vm;
    const vcpu = this.ops.vcpu_create(vm, 0);
    this.ops.vcpu_load(vcpu, 0);
    this.ops.vcpu_reset(vcpu, false);
    this.kvm.calls.length = 0;
    return vcpu;
  }

  /** Enter the guest, which does nothing but exit with these fields; then handle the exit. */
  exit(vcpu: Vcpu, reason: keyof typeof EXIT_REASON, fields: Readonly<Record<number, number | bigint>> = {}): boolean {
    this.run(vcpu, EXIT_REASON[reason], fields);
    return this.ops.handle_exit(vcpu);
  }

  run(vcpu: Vcpu, reason: number, fields: Readonly<Record<number, number | bigint>> = {}): void {
    const cpu = this.cpu();
    cpu.enter = () => {
      for (const stale of [VMCS.VM_EXIT_INTR_INFO, VMCS.IDT_VECTORING_INFO_FIELD]) cpu.fields.set(stale, 0n);
      cpu.fields.set(VMCS.VM_EXIT_REASON, BigInt(reason >>> 0));
      cpu.fields.set(VMCS.VM_EXIT_INSTRUCTION_LEN, 2n);
      for (const [field, value] of Object.entries(fields)) cpu.fields.set(Number(field), BigInt(value));
      return VM_SUCCEED;
    };
    this.ops.run(vcpu);
  }

  /** Ops that `work` calls, marked by who called: `backend get_msr`. */
  watch(work: () => void): string[] {
    const seen: string[] = [];
    const observe = { enter: (call: OpCall) => void seen.push(`${call.caller} ${call.op}`) };
    const attachment = this.core.attach({
      name: "watch",
      ops: Object.fromEntries(OP_NAMES.map((name) => [name, { observe }])),
    });
    try {
      work();
    } finally {
      attachment.dispose();
    }
    return seen;
  }
}

export function realModeSegment(selector: number): Segment {
  return {
    base: BigInt(selector << 4), limit: 0xffff, selector, type: 3, present: true, dpl: 0, db: false, s: true, l: false,
    g: false, avl: false, unusable: false,
  }; // prettier-ignore
}
