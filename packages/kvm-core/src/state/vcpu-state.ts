import {
  type CsBits, type LogicalProcessor, type Vcpu, VcpuArch, type VcpuExit, type Vm,
} from "../contract/index.js"; // prettier-ignore
import { CpuidTable } from "../cpuid/table.js";
import type { KvmState } from "./kvm-state.js";
import type { LapicFields } from "./lapic-state.js";
import type { VmFields } from "./vm-state.js";

/** Where SMM starts after reset (SDM vol. 3, "SMRAM"). */
export const SMBASE_RESET = 0x30000n;

/** struct kvm_vcpu: what only the generic layer keeps of a vCPU, beside `arch`, which backends see. */
export class VcpuFields {
  readonly kvm: KvmState;
  readonly arch = new VcpuArch();
  cpu = -1;
  exit: VcpuExit | undefined;
  inGuestMode = false;

  /** With an irqchip in the kernel. */
  lapic: Lapic | undefined;
  cpuid = new CpuidTable([]);
  /** User space has chosen the banks of machine-check registers. */
  mceSetUp = false;
  smbase = SMBASE_RESET;
  /** NMIs that were sent and not yet looked at. */
  nmiQueued = 0;

  /** The processor whose registers hold the guest's FPU state; `arch.guestFpu` is out of date then. */
  fpuProcessor: LogicalProcessor | undefined;
  fpuCounter = 0;
  guestXcr0Loaded = false;
  /** CR4 when the guest was last entered, and its OSXSAVE: see loadGuestXcr0. */
  cr4AtLastEntry = 0n;
  osxsave = false;
  /** It spins in a loop with PAUSE: another vCPU should have the processor. */
  yielded = false;
  /** What the emulator works with; only emulate/ knows its type. */
  emulator: object | undefined;
  /** Scratch of get_cs_db_l_bits. */
  readonly csBits: CsBits = { db: false, l: false };

  /** What to do with user space's answer when `run` is called again; its result is that of an exit handler. */
  completeUserspaceIo: (() => boolean) | undefined;
  /** kvm_run->request_interrupt_window: exit as soon as KVM_INTERRUPT could be delivered. */
  requestInterruptWindow = false;
  /** `pre_block` was called, `post_block` not yet: the vCPU sleeps in HLT. */
  blocking = false;
  /** The last `run` ended by its budget or idle, where Linux would have scheduled the thread out. */
  preempted = false;
  /** vcpu_load calls without their vcpu_put. */
  loads = 0;

  constructor(
    readonly vm: VmState,
    readonly id: number,
    public backendState: object | undefined,
  ) {
    this.kvm = vm.kvm;
  }
}

/** A vCPU as every function below the ioctls takes it. The ioctls themselves are the contract's: plugins may call them. */
export type VcpuState = VcpuFields & Vcpu;
/** A VM, likewise. */
export type VmState = VmFields<VcpuState> & Vm;

/** struct kvm_lapic: a vCPU's local APIC. */
export interface Lapic extends LapicFields {
  readonly vcpu: VcpuState;
}

/** kvm_vcpu_is_reset_bsp: does it boot, or wait for SIPI? */
export function isResetBootProcessor(vcpu: VcpuState): boolean {
  return vcpu.id === vcpu.vm.bootVcpuId;
}

/** The processor that this vCPU is loaded on. */
export function processorOf(vcpu: VcpuState): LogicalProcessor {
  const processor = vcpu.kvm.host.processors[vcpu.cpu];
  if (processor === undefined) throw new RangeError(`vCPU ${vcpu.id} is on no processor`);
  return processor;
}
