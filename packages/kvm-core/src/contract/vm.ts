import type { BusSpace, IoBus } from "./device.js";
import type { VcpuExit } from "./exits.js";
import type { MpState, Segment, DescriptorTable, VcpuArch, CpuidEntry } from "./state.js";

/** struct kvm_memory_slot: a range of guest physical memory that host pages back. */
export interface MemorySlot {
  readonly id: number;
  /** First guest frame number. */
  readonly baseGfn: number;
  readonly npages: number;
  /** Host physical address of the first page; the pages are contiguous. */
  readonly hostAddress: number;
  readonly readonly: boolean;
  /** One bit a page while dirty logging is on. */
  readonly dirtyBitmap: Uint32Array | undefined;
}

/** KVM_SET_USER_MEMORY_REGION. */
export interface UserMemoryRegion {
  readonly slot: number;
  /** Bytes, both multiples of 4096. */
  readonly guestPhysAddr: number;
  readonly memorySize: number;
  /** Host physical address of the backing pages. */
  readonly hostAddress: number;
  readonly flags?: { readonly logDirtyPages?: boolean; readonly readonly?: boolean };
}

/** A virtual machine, as the API and the ops see it. Methods are named after the ioctls. */
export interface Vm {
  /** Running number of the VM in its core, from 0. */
  readonly id: number;
  readonly vcpus: readonly Vcpu[];
  /** Where its guests find devices: those that the core has created, and those that are attached. */
  readonly buses: { readonly [S in BusSpace]: IoBus };
  /** What the backend keeps for the VM (struct kvm_vmx); only the backend knows its type. */
  backendState: object | undefined;
  /** Guest physical address that KVM_SET_IDENTITY_MAP_ADDR chose. */
  readonly identityMapAddr?: number | undefined;

  setUserMemoryRegion(region: UserMemoryRegion): void;
  createVcpu(id: number): Vcpu;
  createIrqchip(): void;
  createPit2(): void;
  irqLine(gsi: number, level: boolean): void;
  /** Controllers and vCPUs as power-on leaves them. */
  reset(): void;
  getDirtyLog(slot: number): Uint32Array;
  setTssAddr(address: number): void;
  setIdentityMapAddr(address: number): void;
  checkExtension(capability: string): number;
  /** Read or write guest physical memory as the host does; an address without a slot throws EFAULT. */
  readGuest(address: number, length: number): Uint8Array;
  writeGuest(address: number, data: Uint8Array): void;
  slotOf(gfn: number): MemorySlot | undefined;
  /** kvm_mmu_notifier_invalidate_page: the guest's next access to the page that holds the address maps it afresh. */
  unmapPage(guestPhysAddr: number): void;
  destroy(): void;
}

/** KVM_GET_REGS. */
export interface Regs {
  rax: bigint; rbx: bigint; rcx: bigint; rdx: bigint; rsi: bigint; rdi: bigint; rsp: bigint; rbp: bigint;
  r8: bigint; r9: bigint; r10: bigint; r11: bigint; r12: bigint; r13: bigint; r14: bigint; r15: bigint;
  rip: bigint; rflags: bigint;
} // prettier-ignore

/** KVM_GET_SREGS. */
export interface Sregs {
  cs: Segment; ds: Segment; es: Segment; fs: Segment; gs: Segment; ss: Segment; tr: Segment; ldt: Segment;
  gdt: DescriptorTable; idt: DescriptorTable;
  cr0: bigint; cr2: bigint; cr3: bigint; cr4: bigint; cr8: bigint; efer: bigint; apicBase: bigint;
  /** A vector queued for injection, or -1. */
  pendingInterrupt: number;
} // prettier-ignore

/** KVM_GET_DEBUGREGS. */
export interface DebugRegs {
  db: [bigint, bigint, bigint, bigint];
  dr6: bigint;
  dr7: bigint;
}

/** An extended control register of KVM_GET_XCRS, by its number. */
export interface Xcr {
  readonly index: number;
  readonly value: bigint;
}

/** KVM_GET_VCPU_EVENTS. */
export interface VcpuEvents {
  exception: { injected: boolean; nr: number; hasErrorCode: boolean; errorCode: number };
  interrupt: { injected: boolean; nr: number; soft: boolean; shadow: number };
  nmi: { injected: boolean; pending: boolean; masked: boolean };
  sipiVector: number;
}

/** Limits of one `vcpu.run()`. */
export interface RunOptions {
  /** Come back with `budget` once the guest's TSC clock has advanced by this many cycles. */
  readonly maxCycles?: number;
  /** Come back with `irq_window_open` as soon as KVM_INTERRUPT could be delivered; without an irqchip only. */
  readonly requestInterruptWindow?: boolean;
}

/** A virtual CPU, as the API and the ops see it. Methods are named after the ioctls. */
export interface Vcpu {
  readonly id: number;
  readonly vm: Vm;
  /** Generic state that ops work on. */
  readonly arch: VcpuArch;
  /** What the backend keeps for the vCPU (struct vcpu_vmx); only the backend knows its type. */
  backendState: object | undefined;
  /** Logical processor that it is loaded on, or was last; -1 before the first load. */
  cpu: number;
  /** KVM_RUN's answer while it is being made: what `kvm_run->exit_reason` and its union hold. */
  exit: VcpuExit | undefined;
  /** In guest mode between the last check for requests and the exit: IN_GUEST_MODE. */
  inGuestMode: boolean;

  run(options?: RunOptions): VcpuExit;
  getRegs(): Regs;
  setRegs(regs: Readonly<Partial<Regs>>): void;
  getSregs(): Sregs;
  setSregs(sregs: Readonly<Partial<Sregs>>): void;
  getMsrs(indices: readonly number[]): bigint[];
  setMsrs(msrs: readonly { readonly index: number; readonly data: bigint }[]): void;
  setCpuid2(entries: readonly CpuidEntry[]): void;
  getCpuid2(): readonly CpuidEntry[];
  getLapic(): Uint8Array;
  setLapic(registers: Uint8Array): void;
  getVcpuEvents(): VcpuEvents;
  setVcpuEvents(events: VcpuEvents): void;
  getMpState(): MpState;
  setMpState(state: MpState): void;
  getDebugRegs(): DebugRegs;
  setDebugRegs(regs: DebugRegs): void;
  setGuestDebug(control: number, debugRegs?: readonly bigint[]): void;
  /** KVM_GET_FPU, KVM_SET_FPU: an FXSAVE image of 512 bytes. */
  getFpu(): Uint8Array;
  setFpu(image: Uint8Array): void;
  /** KVM_GET_XSAVE, KVM_SET_XSAVE: an XSAVE area of 4096 bytes in the standard format. */
  getXsave(): Uint8Array;
  setXsave(area: Uint8Array): void;
  /** KVM_GET_XCRS, KVM_SET_XCRS. The only extended control register is XCR0. */
  getXcrs(): readonly Xcr[];
  setXcrs(xcrs: readonly Xcr[]): void;
  /** KVM_TRANSLATE: guest linear to guest physical, or undefined when not mapped. */
  translate(linear: bigint): { physical: number; writable: boolean; usermode: boolean } | undefined;
  /** KVM_NMI, KVM_INTERRUPT (without an in-kernel irqchip). */
  nmi(): void;
  interrupt(vector: number): void;
}
