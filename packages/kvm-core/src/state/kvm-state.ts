import { EFER } from "@tapvisor/x86-isa";
import type { Host, OpCaller } from "../contract/index.js";
import type { LifecycleHooks } from "../hooks/lifecycle-hook.js";
import { SpteFormat } from "../mmu/masks.js";
import { SharedMsrs } from "../msr/shared.js";

/** Bits of IA32_EFER that guests may set from the start; a backend adds NX, SVME, FFXSR. */
const EFER_ALLOWED = EFER.SCE | EFER.LME | EFER.LMA;
const ALL_BITS = (1n << 64n) - 1n;
/** What no guest may set in IA32_EFER until a backend allows more. */
export const EFER_RESERVED = ALL_BITS & ~EFER_ALLOWED;

/** What Linux keeps in the variables of kvm_main.c, x86.c and mmu.c: one of each for every core. */
export class KvmState {
  readonly host: Host;
  readonly ops: OpCaller;
  readonly hooks: LifecycleHooks;
  readonly spte = new SpteFormat();
  readonly sharedMsrs: SharedMsrs;
  /** The processor's second-stage translation has large pages. */
  largePagesEnabled = true;
  tdpEnabled = false;
  tdpLevel = 4;
  eferReservedBits = EFER_RESERVED;
  hostXcr0 = 1n;
  /** What the timer of each processor is set to, in its cycles, to set it only when that changes. */
  readonly armedTimers: (number | undefined)[] = [];

  constructor(host: Host, ops: OpCaller, hooks: LifecycleHooks) {
    this.host = host;
    this.ops = ops;
    this.hooks = hooks;
    this.sharedMsrs = new SharedMsrs(host);
  }
}
