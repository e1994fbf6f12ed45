import type { MsrAccess, Request, CpuidEntry } from "./state.js";
import type { Vcpu, Vm } from "./vm.js";

/** How emulation of one instruction ended: EMULATE_*. */
export type EmulationResult = "done" | "user_exit" | "fail";

/** Fixed bits of second-stage entries, from the backend's format: kvm_mmu_set_mask_ptes(). */
export interface PteMasks {
  readonly user: bigint;
  readonly accessed: bigint;
  readonly dirty: bigint;
  readonly noExecute: bigint;
  readonly execute: bigint;
  readonly present: bigint;
}

/**
 * What the generic layer exports to its backends: in Linux, the EXPORT_SYMBOL_GPL functions of x86.c, mmu.c, lapic.c
 * and cpuid.c that vmx.c calls. The name in each comment is Linux's.
 *
 * A `boolean` result that says "refused" is true when the guest has to get #GP(0).
 */
export interface KvmExports {
  // --- vCPU life cycle
  /** kvm_vcpu_init: make the generic part; a backend's `vcpu_create` calls it first and returns its result. */
  vcpuInit(vm: Vm, id: number, backendState: object): Vcpu;
  /** kvm_vcpu_uninit. */
  vcpuUninit(vcpu: Vcpu): void;
  /** kvm_vcpu_is_reset_bsp / kvm_vcpu_is_bsp: does it boot, or wait for SIPI? */
  isBootProcessor(vcpu: Vcpu): boolean;
  /** kvm_make_request. */
  makeRequest(vcpu: Vcpu, request: Request): void;
  /** kvm_vcpu_kick: for posted interrupts of APIC virtualization. */
  kick(vcpu: Vcpu): void;

  /**
   * The host's handler of an interrupt that a guest exit acknowledged: `handle_external_intr` calls it with the vector,
   * where Linux jumps through the host's IDT. The timer's vector runs what is due.
   */
  hostInterrupt(vector: number): void;

  // --- registers
  /**
   * kvm_register_read / _write: through the cache, filling it by the op `cache_reg`. Truncated outside 64-bit mode by the
   * `l` forms. Nested virtualization uses those that no backend does yet.
   */
  registerRead(vcpu: Vcpu, reg: number): bigint;
  registerWrite(vcpu: Vcpu, reg: number, value: bigint): void;
  registerReadL(vcpu: Vcpu, reg: number): bigint;
  registerWriteL(vcpu: Vcpu, reg: number, value: bigint): void;
  ripRead(vcpu: Vcpu): bigint;
  ripWrite(vcpu: Vcpu, value: bigint): void;
  /** kvm_get_linear_rip. */
  linearRip(vcpu: Vcpu): bigint;
  /** kvm_read_cr0_bits, kvm_read_cr3, kvm_read_cr4_bits: through the decache ops. */
  readCr0(vcpu: Vcpu, mask?: bigint): bigint;
  readCr3(vcpu: Vcpu): bigint;
  readCr4(vcpu: Vcpu, mask?: bigint): bigint;
  /** kvm_set_cr0, ...: with the checks of the architecture; true = refused. */
  setCr0(vcpu: Vcpu, value: bigint): boolean;
  setCr3(vcpu: Vcpu, value: bigint): boolean;
  setCr4(vcpu: Vcpu, value: bigint): boolean;
  setCr8(vcpu: Vcpu, value: bigint): boolean;
  getCr8(vcpu: Vcpu): bigint;
  lmsw(vcpu: Vcpu, value: number): void;
  /** kvm_set_xcr. */
  setXcr(vcpu: Vcpu, index: number, value: bigint): boolean;
  getDr(vcpu: Vcpu, dr: number): bigint;
  setDr(vcpu: Vcpu, dr: number, value: bigint): boolean;
  /** kvm_require_dr, kvm_require_cpl: false, with the exception queued, when the guest may not. */
  requireDr(vcpu: Vcpu, dr: number): boolean;
  requireCpl(vcpu: Vcpu, requiredCpl: number): boolean;
  isLongMode(vcpu: Vcpu): boolean;
  /** is_64_bit_mode: for nested virtualization. */
  is64BitMode(vcpu: Vcpu): boolean;
  isPaging(vcpu: Vcpu): boolean;
  isPae(vcpu: Vcpu): boolean;
  isProtectedMode(vcpu: Vcpu): boolean;
  /** load_pdptrs: false when a reserved bit is set. For nested virtualization. */
  loadPdptrs(vcpu: Vcpu, cr3: bigint): boolean;

  // --- MSRs, CPUID
  /** kvm_get_msr_common / kvm_set_msr_common: what no backend owns. True = refused. */
  getMsrCommon(vcpu: Vcpu, msr: MsrAccess): boolean;
  setMsrCommon(vcpu: Vcpu, msr: MsrAccess): boolean;
  /** kvm_get_msr (for nested virtualization) / kvm_set_msr: the generic checks, then the op. True = refused. */
  getMsr(vcpu: Vcpu, msr: MsrAccess): boolean;
  setMsr(vcpu: Vcpu, msr: MsrAccess): boolean;
  /** kvm_enable_efer_bits. */
  enableEferBits(mask: bigint): void;
  /** kvm_define_shared_msr / kvm_set_shared_msr: MSRs that are switched late, on return to user space. */
  defineSharedMsr(slot: number, msr: number): void;
  setSharedMsr(slot: number, value: bigint, mask: bigint): boolean;
  findCpuidEntry(vcpu: Vcpu, leaf: number, subleaf: number): CpuidEntry | undefined;
  /** guest_cpuid_has_*: by the CPUID feature's name in x86-isa's table. */
  guestCpuidHas(vcpu: Vcpu, feature: string): boolean;
  /** cpuid_maxphyaddr: for nested virtualization. */
  cpuidMaxPhysAddr(vcpu: Vcpu): number;
  mtrrGuestMemoryType(vcpu: Vcpu, gfn: number): number;
  hasNoncoherentDma(vm: Vm): boolean;
  /** kvm_rdpmc: true = refused. Fills RAX and RDX otherwise. */
  rdpmc(vcpu: Vcpu): boolean;

  // --- events
  queueException(vcpu: Vcpu, nr: number): void;
  queueExceptionE(vcpu: Vcpu, nr: number, errorCode: number): void;
  requeueException(vcpu: Vcpu, nr: number): void;
  requeueExceptionE(vcpu: Vcpu, nr: number, errorCode: number): void;
  /** kvm_inject_page_fault: for nested virtualization and shadow paging. */
  injectPageFault(vcpu: Vcpu, errorCode: number, address: bigint): void;
  injectGp(vcpu: Vcpu, errorCode: number): void;
  queueInterrupt(vcpu: Vcpu, vector: number, soft: boolean): void;
  clearExceptionQueue(vcpu: Vcpu): void;
  clearInterruptQueue(vcpu: Vcpu): void;
  /** kvm_event_needs_reinjection: for shadow paging. */
  eventNeedsReinjection(vcpu: Vcpu): boolean;
  /** kvm_complete_insn_gp: #GP(0) when refused, else skip the instruction. */
  completeInsnGp(vcpu: Vcpu, refused: boolean): void;
  /** kvm_cpu_has_interrupt / kvm_cpu_get_interrupt: for nested virtualization. */
  cpuHasInterrupt(vcpu: Vcpu): boolean;
  cpuGetInterrupt(vcpu: Vcpu): number;

  // --- emulation of intercepted instructions. `boolean`: true = stay in the run loop, false = return to user space.
  emulateCpuid(vcpu: Vcpu): void;
  emulateHalt(vcpu: Vcpu): boolean;
  /** kvm_vcpu_halt: for nested virtualization. */
  vcpuHalt(vcpu: Vcpu): boolean;
  emulateHypercall(vcpu: Vcpu): boolean;
  emulateWbinvd(vcpu: Vcpu): void;
  /** kvm_fast_pio_out / in: port access with the accumulator, no decoding needed. */
  fastPio(vcpu: Vcpu, direction: "in" | "out", size: 1 | 2 | 4, port: number): boolean;
  /** x86_emulate_instruction / emulate_instruction: decode and execute the instruction at RIP. */
  emulateInstruction(vcpu: Vcpu, options?: EmulateOptions): EmulationResult;
  /** kvm_task_switch. */
  taskSwitch(
    vcpu: Vcpu,
    tssSelector: number,
    idtIndex: number,
    reason: number,
    errorCode: number | undefined,
  ): EmulationResult;
  /** kvm_inject_realmode_interrupt. */
  injectRealmodeInterrupt(vcpu: Vcpu, irq: number, incEip: number): EmulationResult;
  /** kvm_vcpu_on_spin. */
  onSpin(vcpu: Vcpu): void;

  // --- MMU
  /** kvm_disable_largepages. */
  disableLargepages(): void;
  setMaskPtes(masks: PteMasks): void;
  setMmioSpteMask(mask: bigint): void;
  enableTdp(): void;
  disableTdp(): void;
  /** kvm_mmu_page_fault on an EPT violation at a guest physical address: true = stay in the run loop. */
  mmuPageFault(vcpu: Vcpu, guestPhysical: number, errorCode: number): boolean;
  /** handle_mmio_page_fault on an EPT misconfiguration: emulate, retry or invalid. */
  handleMmioPageFault(vcpu: Vcpu, guestPhysical: number): "emulate" | "retry" | "invalid";
  mmuResetContext(vcpu: Vcpu): void;
  /** kvm_mmu_unload: for nested virtualization. */
  mmuUnload(vcpu: Vcpu): void;
  mmuInvlpg(vcpu: Vcpu, linear: bigint): void;
  /** Guest physical memory of a VM; false when no slot is there. Nested virtualization reads. */
  readGuest(vm: Vm, address: number, into: Uint8Array): boolean;
  writeGuest(vm: Vm, address: number, data: Uint8Array): boolean;
  clearGuestPage(vm: Vm, gfn: number): boolean;
  /** kvm_read_guest_virt: for nested virtualization. */
  readGuestVirt(vcpu: Vcpu, linear: bigint, into: Uint8Array): boolean;
  /**
   * May guests of the VM access a port without an exit? Asked as a vCPU is made: false where a device is there, and from
   * the first true on none can be put there.
   */
  passThroughPort(vm: Vm, port: number): boolean;
  /** x86_set_memory_region: a private slot with pages of the host's. Returns its first page, or throws. */
  setPrivateSlot(vm: Vm, id: number, guestPhysAddr: number, bytes: number): number;

  // --- local APIC, time
  lapicInKernel(vcpu: Vcpu): boolean;
  /** kvm_get_apic_base: for APIC virtualization. */
  getApicBase(vcpu: Vcpu): bigint;
  setApicBase(vcpu: Vcpu, msr: MsrAccess): boolean;
  lapicSetEoi(vcpu: Vcpu): void;
  lapicExpiredHvTimer(vcpu: Vcpu): void;
  lapicHvTimerInUse(vcpu: Vcpu): boolean;
  lapicSwitchToSwTimer(vcpu: Vcpu): void;
  lapicSwitchToHvTimer(vcpu: Vcpu): void;
  /** kvm_read_l1_tsc of now. */
  readL1Tsc(vcpu: Vcpu): bigint;
  /** kvm_write_tsc. */
  writeTsc(vcpu: Vcpu, msr: MsrAccess): void;
}

export interface EmulateOptions {
  /** EMULTYPE_SKIP: only advance RIP. EMULTYPE_TRAP_UD: a #UD intercept; emulate only what KVM emulates there. */
  readonly skip?: boolean;
  readonly trapUd?: boolean;
}
