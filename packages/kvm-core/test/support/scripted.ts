import { CR0, EFER } from "@tapvisor/x86-isa";
import {
  DEFAULT_HOST_OPTIONS,
  defineArchBackend,
  HostGeneralProtection,
  KvmError,
  PAGE_SIZE,
  SREG,
} from "../../src/contract/index.js";
import type {
  CpuidResult,
  DescriptorTable,
  Host,
  KvmExports,
  KvmX86Ops,
  LogicalProcessor,
  PhysicalMemory,
  Segment,
  TimerHandle,
  Vcpu,
} from "../../src/contract/index.js";
import { KvmCore } from "../../src/core.js";
import { kvmInit } from "../../src/init.js";
import { Kvm } from "../../src/kvm.js";
import type { KvmVcpu } from "../../src/vcpu.js";

/** The RAM of a host that no processor reads. */
export function fakeMemory(pages: number): PhysicalMemory & { readonly free: Set<number> } {
  const bytes = new Uint8Array(pages * PAGE_SIZE);
  const view = new DataView(bytes.buffer);
  const free = new Set(Array.from({ length: pages }, (_, i) => i));
  const allocatePages = (count: number): number => {
    for (let first = 1; first + count <= pages; first++) {
      if (!Array.from({ length: count }, (_, i) => first + i).every((page) => free.has(page))) continue;
      for (let page = first; page < first + count; page++) free.delete(page);
      bytes.fill(0, first * PAGE_SIZE, (first + count) * PAGE_SIZE);
      return first * PAGE_SIZE;
    }
    throw new KvmError("ENOMEM", "allocatePages");
  };
  return {
    free,
    size: bytes.length,
    allocatePage: () => allocatePages(1),
    allocatePages,
    freePages: (base, count) => {
      for (let page = base / PAGE_SIZE; page < base / PAGE_SIZE + count; page++) free.add(page);
    },
    readU8: (at) => view.getUint8(at),
    readU16: (at) => view.getUint16(at, true),
    readU32: (at) => view.getUint32(at, true),
    readU64: (at) => view.getBigUint64(at, true),
    writeU8: (at, value) => view.setUint8(at, value),
    writeU16: (at, value) => view.setUint16(at, value, true),
    writeU32: (at, value) => view.setUint32(at, value, true),
    writeU64: (at, value) => view.setBigUint64(at, value, true),
    view: (at, length) => bytes.subarray(at, at + length),
    written: () => undefined,
  };
}

interface FakeTimer extends TimerHandle {
  deadline: number | undefined;
  readonly fire: () => void;
}

/** A host whose time a test moves by hand: one cycle is one nanosecond. */
export function fakeHost({ processors = 1, pages = 256, options = {} } = {}) {
  let now = 0;
  let current = 0;
  const timers: FakeTimer[] = [];
  const armed: (number | undefined)[] = [];
  const msrs = new Map<number, bigint>();
  const cpuid = (leaf: number): CpuidResult => {
    if (leaf === 0) return { eax: 0xd, ebx: 0x756e6547, ecx: 0x6c65746e, edx: 0x49656e69 };
    if (leaf === 0x80000000) return { eax: 0x80000008, ebx: 0, ecx: 0, edx: 0 };
    if (leaf === 0x80000008) return { eax: 0x3027, ebx: 0, ecx: 0, edx: 0 };
    if (leaf === 2 || leaf === 4 || leaf === 0xb || leaf === 0xd) return { eax: 0, ebx: 0, ecx: 0, edx: 0 };
    return { eax: 0xffffffff, ebx: 0xffffffff, ecx: 0xffffffff, edx: 0xffffffff };
  };
  const processor = (id: number): LogicalProcessor =>
    ({
      id,
      online: true,
      cpuid,
      rdmsr: (index: number) => {
        const value = msrs.get(index);
        if (value === undefined) throw new HostGeneralProtection("RDMSR");
        return value;
      },
      wrmsr: (index: number, value: bigint) => void msrs.set(index, value),
      rdtsc: () => BigInt(now),
      tsc: () => now,
      writeDr: () => undefined,
      readXcr0: () => 3n,
      writeXcr0: () => undefined,
      saveFpu: () => undefined,
      loadFpu: () => undefined,
      raiseInterrupt: () => undefined,
      acknowledgeInterrupt: () => -1,
      interruptPending: false,
      setTimer: (cycles: number | undefined) => void (armed[id] = cycles),
    }) as unknown as LogicalProcessor;
  const all = Array.from({ length: processors }, (_, id) => processor(id));
  const memory = fakeMemory(pages);
  const host: Host = {
    memory,
    processors: all,
    clock: {
      now: () => now,
      cycles: () => now,
      tscKhz: 1_000_000,
      charge: (cycles) => void (now += cycles),
      advanceTo: (ns) => void (now = Math.max(now, ns)),
    },
    timers: {
      create: (_name, fire) => {
        const timer: FakeTimer = {
          deadline: undefined,
          fire,
          arm: (deadline) => void (timer.deadline = deadline),
          cancel: () => void (timer.deadline = undefined),
        };
        timers.push(timer);
        return timer;
      },
      next: () => {
        const deadlines = timers.flatMap(({ deadline }) => (deadline === undefined ? [] : [deadline]));
        return deadlines.length === 0 ? undefined : Math.min(...deadlines);
      },
      runDue: () => {
        const due = timers.filter(({ deadline }) => deadline !== undefined && deadline <= now);
        for (const timer of due) {
          timer.deadline = undefined;
          timer.fire();
        }
        return due.length;
      },
    },
    scheduler: {
      current: () => all[current] as LogicalProcessor,
      runOn: (cpu, work) => {
        const before = current;
        current = cpu;
        try {
          return work();
        } finally {
          current = before;
        }
      },
      quantumCycles: 1_000_000,
    },
    options: { ...DEFAULT_HOST_OPTIONS, ...options },
  };
  return { host, memory, msrs, armed, advance: (cycles: number) => void (now += cycles), now: () => now };
}

/** What the scripted backend keeps of a vCPU. */
export class ScriptedState {
  segments = new Map<number, Segment>();
  gdt: DescriptorTable = { size: 0, address: 0n };
  idt: DescriptorTable = { size: 0, address: 0n };
  rflags = 2n;
  interruptAllowed = true;
  nmiAllowed = true;
  nmiMasked = false;
  shadow = 0;
}

/** One entry of the guest: what happened in it, and what its exit handler answers. */
export type Step = (vcpu: KvmVcpu) => boolean;

const NOT_LOGGED = new Set(["get_rflags", "get_segment", "get_cs_db_l_bits", "cache_reg"]);

/**
 * A core with a backend that runs a script instead of a guest, and writes down the name of every op that is called.
 * `tdp: false` leaves two-dimensional paging off.
 */
export function scriptedKvm({
  tdp = true,
  change = (_ops: KvmX86Ops, _kvm: KvmExports): void => undefined,
  ...hostParts
}: { tdp?: boolean; change?: (ops: KvmX86Ops, kvm: KvmExports) => void } & Parameters<typeof fakeHost>[0] = {}) {
  const fake = fakeHost(hostParts);
  const log: string[] = [];
  const script: Step[] = [];
  const stateOf = (vcpu: Vcpu): ScriptedState => vcpu.backendState as ScriptedState;
  const backend = defineArchBackend({
    name: "scripted",
    vendor: "GenuineIntel",
    create: ({ kvm }) => {
      const nothing = (): void => undefined;
      const no = (): boolean => false;
      let exit: boolean = true;
      const ops: KvmX86Ops = {
        cpu_has_kvm_support: () => true,
        disabled_by_bios: no,
        hardware_setup: () => {
          if (tdp) kvm.enableTdp();
          kvm.setMaskPtes({ user: 1n, accessed: 0n, dirty: 0n, noExecute: 0n, execute: 4n, present: 1n });
          kvm.setMmioSpteMask((3n << 62n) | 6n);
          kvm.enableEferBits(EFER.NXE);
        },
        hardware_unsetup: nothing,
        check_processor_compatibility: () => true,
        hardware_enable: nothing,
        hardware_disable: nothing,
        cpu_has_accelerated_tpr: no,
        cpu_has_high_real_mode_segbase: () => true,
        vcpu_create: (vm, id) => kvm.vcpuInit(vm, id, new ScriptedState()),
        vcpu_free: (vcpu) => kvm.vcpuUninit(vcpu),
        vcpu_reset: (vcpu) => {
          kvm.ripWrite(vcpu, 0xfff0n);
          vcpu.arch.cr0 = CR0.ET;
        },
        prepare_guest_switch: nothing,
        vcpu_load: nothing,
        vcpu_put: nothing,
        update_bp_intercept: nothing,
        get_msr: (vcpu, msr) => kvm.getMsrCommon(vcpu, msr),
        set_msr: (vcpu, msr) => kvm.setMsrCommon(vcpu, msr),
        get_segment_base: (vcpu, seg) => stateOf(vcpu).segments.get(seg)?.base ?? 0n,
        get_segment: (vcpu, segment, seg) => void Object.assign(segment, stateOf(vcpu).segments.get(seg)),
        set_segment: (vcpu, segment, seg) => void stateOf(vcpu).segments.set(seg, { ...segment }),
        get_cpl: (vcpu) => stateOf(vcpu).segments.get(SREG.SS)?.dpl ?? 0,
        get_cs_db_l_bits: (vcpu, bits) => {
          const cs = stateOf(vcpu).segments.get(SREG.CS);
          bits.db = cs?.db ?? false;
          bits.l = cs?.l ?? false;
        },
        decache_cr0_guest_bits: nothing,
        decache_cr3: nothing,
        decache_cr4_guest_bits: nothing,
        set_cr0: (vcpu, cr0) => {
          const long = (vcpu.arch.efer & EFER.LME) !== 0n && (cr0 & CR0.PG) !== 0n;
          vcpu.arch.efer = long ? vcpu.arch.efer | EFER.LMA : vcpu.arch.efer & ~EFER.LMA;
          vcpu.arch.cr0 = cr0;
        },
        set_cr3: nothing,
        set_cr4: (vcpu, cr4) => {
          vcpu.arch.cr4 = cr4;
          return false;
        },
        set_efer: (vcpu, efer) => void (vcpu.arch.efer = efer),
        get_idt: (vcpu, table) => void Object.assign(table, stateOf(vcpu).idt),
        set_idt: (vcpu, table) => void (stateOf(vcpu).idt = { ...table }),
        get_gdt: (vcpu, table) => void Object.assign(table, stateOf(vcpu).gdt),
        set_gdt: (vcpu, table) => void (stateOf(vcpu).gdt = { ...table }),
        get_dr6: (vcpu) => vcpu.arch.dr6,
        set_dr6: nothing,
        set_dr7: nothing,
        sync_dirty_debug_regs: nothing,
        cache_reg: (vcpu, reg) => void (vcpu.arch.regsAvail |= 1 << reg),
        get_rflags: (vcpu) => stateOf(vcpu).rflags,
        set_rflags: (vcpu, rflags) => void (stateOf(vcpu).rflags = rflags),
        get_pkru: () => 0,
        fpu_activate: nothing,
        fpu_deactivate: nothing,
        tlb_flush: nothing,
        run: (vcpu) => {
          const step = script.shift();
          if (step === undefined) throw new Error("the script has no more entries");
          exit = step(vcpu as KvmVcpu);
        },
        handle_exit: () => exit,
        skip_emulated_instruction: (vcpu) => kvm.ripWrite(vcpu, kvm.ripRead(vcpu) + 1n),
        set_interrupt_shadow: (vcpu, mask) => void (stateOf(vcpu).shadow = mask),
        get_interrupt_shadow: (vcpu) => stateOf(vcpu).shadow,
        patch_hypercall: nothing,
        set_irq: nothing,
        set_nmi: nothing,
        queue_exception: nothing,
        cancel_injection: nothing,
        interrupt_allowed: (vcpu) => stateOf(vcpu).interruptAllowed,
        nmi_allowed: (vcpu) => stateOf(vcpu).nmiAllowed,
        get_nmi_mask: (vcpu) => stateOf(vcpu).nmiMasked,
        set_nmi_mask: (vcpu, masked) => void (stateOf(vcpu).nmiMasked = masked),
        enable_nmi_window: nothing,
        enable_irq_window: nothing,
        set_virtual_x2apic_mode: nothing,
        get_enable_apicv: no,
        refresh_apicv_exec_ctrl: nothing,
        load_eoi_exitmap: nothing,
        hwapic_irr_update: nothing,
        hwapic_isr_update: nothing,
        sync_pir_to_irr: nothing,
        deliver_posted_interrupt: nothing,
        set_tss_addr: nothing,
        get_tdp_level: () => 4,
        get_mt_mask: () => 6n << 3n,
        get_exit_info: nothing,
        get_lpage_level: () => 1,
        cpuid_update: nothing,
        rdtscp_supported: () => true,
        invpcid_supported: no,
        set_supported_cpuid: nothing,
        has_wbinvd_exit: () => true,
        write_tsc_offset: nothing,
        set_tdp_cr3: nothing,
        check_intercept: () => "continue",
        handle_external_intr: nothing,
        mpx_supported: no,
        xsaves_supported: no,
        sched_in: nothing,
        pmu_ops: {
          find_arch_event: () => 0,
          find_fixed_event: () => 0,
          pmc_is_enabled: no,
          pmc_idx_to_pmc: () => undefined,
          msr_idx_to_pmc: () => undefined,
          is_valid_msr_idx: () => true,
          is_valid_msr: no,
          get_msr: () => true,
          set_msr: () => true,
          refresh: nothing,
          init: nothing,
          reset: nothing,
        },
      };
      change(ops, kvm);
      const table = ops as unknown as Record<string, unknown>;
      for (const [name, value] of Object.entries(table)) {
        if (typeof value !== "function") continue;
        table[name] = (...args: unknown[]) => {
          if (!NOT_LOGGED.has(name)) log.push(name);
          return (value as (...all: unknown[]) => unknown)(...args);
        };
      }
      return { ops };
    },
  });
  const core = new KvmCore(fake.host);
  const kvm = new Kvm(core);
  kvmInit(core, backend, kvm.layer);
  log.length = 0;
  return { ...fake, core, kvm, log, script, stateOf };
}

/** A VM with `pages` of memory from address 0 and one vCPU; with an irqchip unless it is told otherwise. */
export function scriptedVcpu(parts: Parameters<typeof scriptedKvm>[0] & { irqchip?: boolean; pages?: number } = {}) {
  const { irqchip = true, ...rest } = parts;
  const scripted = scriptedKvm(rest);
  const vm = scripted.kvm.createVm();
  const hostAddress = scripted.memory.allocatePages(16);
  vm.setUserMemoryRegion({ slot: 0, guestPhysAddr: 0, memorySize: 16 * PAGE_SIZE, hostAddress });
  if (irqchip) vm.createIrqchip();
  const vcpu = vm.createVcpu(0);
  scripted.log.length = 0;
  return { ...scripted, vm, vcpu, hostAddress };
}
