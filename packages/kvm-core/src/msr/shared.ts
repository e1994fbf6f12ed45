import { type Host, isHostGeneralProtection, type LogicalProcessor } from "../contract/index.js";

/** Whose guests' values a processor has. */
const owners = new WeakMap<LogicalProcessor, SharedMsrs>();

/** One of them in one processor: what the host had, and what is in the register now. */
interface SharedMsr {
  readonly msr: number;
  readonly host: bigint;
  current: bigint;
}

/**
 * Shared MSRs: those (STAR, LSTAR, ...) that the host does not use itself, so that the guest's values may stay in the
 * processor. Linux puts its own back on the way to user space, which uses them; here that is when the last VM goes, or
 * another core uses the processor.
 */
export class SharedMsrs {
  readonly #msrs: number[] = [];
  /** By processor and slot. */
  readonly #slots: SharedMsr[][] = [];

  constructor(private readonly host: Host) {}

  /** kvm_define_shared_msr. */
  define(slot: number, msr: number): void {
    this.#msrs[slot] = msr;
  }

  /** kvm_shared_msr_cpu_online: remember the host's values. */
  cpuOnline(cpu: number): void {
    const processor = this.#processor(cpu);
    this.#own(processor);
    this.#slots[cpu] = this.#msrs.map((msr) => {
      const host = processor.rdmsr(msr);
      return { msr, host, current: host };
    });
  }

  /** kvm_set_shared_msr on the current processor: true = the processor refused the value. */
  set(slot: number, value: bigint, mask: bigint): boolean {
    const processor = this.host.scheduler.current();
    this.#own(processor);
    const shared = this.#slots[processor.id]?.[slot];
    if (shared === undefined) throw new RangeError(`processor ${processor.id} has no shared MSR in slot ${slot}`);
    if (((value ^ shared.current) & mask) === 0n) return false;
    const wanted = (shared.host & ~mask) | (value & mask);
    try {
      processor.wrmsr(shared.msr, wanted);
    } catch (error) {
      if (isHostGeneralProtection(error)) return true;
      throw error;
    }
    shared.current = wanted;
    return false;
  }

  #processor(cpu: number): LogicalProcessor {
    const processor = this.host.processors[cpu];
    if (processor === undefined) throw new RangeError(`no processor ${cpu}`);
    return processor;
  }

  #own(processor: LogicalProcessor): void {
    const owner = owners.get(processor);
    if (owner === this) return;
    owner?.restoreHost(processor.id);
    owners.set(processor, this);
  }

  /** kvm_on_user_return: put the host's values back. */
  restoreHost(cpu: number): void {
    const slots = this.#slots[cpu];
    if (slots === undefined) return;
    const processor = this.#processor(cpu);
    for (const shared of slots) {
      if (shared.current === shared.host) continue;
      processor.wrmsr(shared.msr, shared.host);
      shared.current = shared.host;
    }
    if (owners.get(processor) === this) owners.delete(processor);
  }
}
