import type { Host, KvmExports, LogicalProcessor } from "@tapvisor/kvm-core/contract";
import { CPUID } from "@tapvisor/x86-isa";

/** What kvm-amd.ko keeps for the whole machine. */
export class KvmAmd {
  readonly host: Host;
  readonly kvm: KvmExports;
  /** The I/O permission map that every guest shares; undefined before `hardware_setup`. */
  iopmBase: number | undefined = undefined;
  /** Page where each processor saves the host's state at VMRUN, by processor. */
  readonly hostSaveAreas = new Map<number, number>();
  nptEnabled = false;

  constructor(host: Host, kvm: KvmExports) {
    this.host = host;
    this.kvm = kvm;
  }

  thisCpu(): LogicalProcessor {
    return this.host.scheduler.current();
  }

  /** Does the current processor show a feature? boot_cpu_has(). */
  has(feature: keyof typeof CPUID): boolean {
    const { leaf, subleaf, register, bit } = CPUID[feature];
    const processor = this.thisCpu();
    // Extended leaves that a processor lacks answer like its highest basic leaf.
    if (processor.cpuid(leaf >= EXTENDED ? EXTENDED : 0, 0).eax >>> 0 < leaf) return false;
    return ((processor.cpuid(leaf, subleaf)[register] >>> bit) & 1) === 1;
  }
}

const EXTENDED = 0x80000000;
