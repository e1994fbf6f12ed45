import type { KvmExports, OpCaller, Segment, Vcpu } from "@tapvisor/kvm-core/contract";
import type { KvmIntel } from "./kvm-intel.js";
import { MsrAutoload } from "./vmcs/msr-autoload.js";
import { HostState } from "./vmcs/host-state.js";
import type { LoadedVmcs } from "./vmcs/loaded-vmcs.js";
import { SegmentCache } from "./vmcs/segment-cache.js";
import type { SharedMsr } from "./vmcs/shared-msrs.js";
import { CurrentVmcs } from "./vmcs/vmcs.js";

/** No deadline is set for the preemption timer. */
export const NO_DEADLINE = -1;

/** Real mode by way of virtual-8086 mode, where the processor has no unrestricted guest. */
export class RealMode {
  /** The guest believes to be in real mode and runs in virtual-8086 mode. */
  vm86Active = false;
  /** RFLAGS as the guest sees it: IOPL and VM are the backend's. */
  savedRflags = 0n;
  /** Segments as the guest sees them, by SREG. */
  readonly segments: Segment[] = Array.from({ length: 8 }, nullSegment);
}

export function nullSegment(): Segment {
  return {
    base: 0n, limit: 0, selector: 0, type: 0, present: false, dpl: 0, db: false, s: false, l: false, g: false,
    avl: false, unusable: true,
  }; // prettier-ignore
}

/** What the backend keeps for a vCPU: struct vcpu_vmx. */
export class VcpuVmx {
  readonly kvm: KvmExports;
  readonly ops: OpCaller;
  /** The current VMCS of the processor that the vCPU is loaded on. */
  readonly vmcs: CurrentVmcs;

  /** VMLAUNCH or VMRESUME failed: no guest ran. */
  fail = false;
  // The exit fields that more than one step of an exit needs, read once.
  exitReason = 0;
  exitIntrInfo = 0;
  idtVectoringInfo = 0;

  /** NMIs are known not to be blocked: the interruptibility state need not be read. */
  nmiKnownUnmasked = false;
  /** Cached per exit, under REG.RFLAGS of `regsAvail`. */
  rflags = 0n;
  readonly segmentCache = new SegmentCache();
  readonly realMode = new RealMode();
  /** The guest state is one that the processor refuses to enter. */
  emulationRequired = false;

  /** MSRs that are switched late; the first `savedMsrCount` of them are in use in the guest's present mode. */
  guestMsrs: SharedMsr[] = [];
  savedMsrCount = 0;
  readonly hostState = new HostState();
  guestKernelGsBase = 0n;
  /** Values of the VM-entry and VM-exit controls in the VMCS. */
  entryControls = 0;
  exitControls = 0;
  readonly autoload: MsrAutoload;

  // CR2 as it was last given to the processor, as a value and as words.
  cr2 = 0n;
  cr2Low = 0;
  cr2High = 0;
  hostPkru = 0;
  guestPkru = 0;
  guestPkruValid = false;
  /** IA32_DEBUGCTL of the host: a VM exit clears it. */
  hostDebugctl = 0n;

  // NMI blocking in software, for processors without virtual NMIs. Times in ns.
  softVnmiBlocked = false;
  entryTime = 0;
  vnmiBlockedTime = 0;

  pleWindow = 0;
  pleWindowDirty = false;
  /** Host TSC at which the preemption timer is to expire, or NO_DEADLINE. */
  hvDeadlineTsc = NO_DEADLINE;

  featureControl = 0n;
  featureControlValidBits = 0n;

  /** The general registers of the vCPU without RIP, as the processor holds them. */
  gprWords = new Uint32Array(0);

  constructor(
    readonly intel: KvmIntel,
    readonly loadedVmcs: LoadedVmcs,
    /** 0: runs without one. */
    readonly vpid: number,
    autoloadPage: number,
  ) {
    this.kvm = intel.kvm;
    this.ops = intel.ops;
    this.vmcs = new CurrentVmcs(intel.thisCpu());
    this.autoload = new MsrAutoload(intel.host.memory, autoloadPage);
    this.pleWindow = intel.host.options.pleWindow;
  }
}

/** The backend's half of a vCPU. The core hands a backend's ops no other vCPUs than those its `vcpu_create` made. */
export function toVmx(vcpu: Vcpu): VcpuVmx {
  return vcpu.backendState as VcpuVmx;
}
