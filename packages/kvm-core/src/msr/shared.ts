import { type Host, isHostGeneralProtection, type LogicalProcessor } from "../contract/index.js";

/** Whose guests' values a processor has. */
const owners = new WeakMap<LogicalProcessor, SharedMsrs>();

/**
 * Shared MSRs: those (STAR, LSTAR, ...) that the host does not use itself, so that the guest's values may stay in the
 * processor. Linux puts its own back on the way to user space, which uses them; here that is when the last VM goes, or
 * another core uses the processor.
 */
export class SharedMsrs {
  readonly #msrs: number[] = [];
  /** Per processor and slot: what the host had, and what is in the register now. */
  readonly #host: bigint[][] = [];
  readonly #current: bigint[][] = [];

  constructor(private readonly host: Host) {}

  /** kvm_define_shared_msr. */
  define(slot: number, msr: number): void {
    this.#msrs[slot] = msr;
  }

  /** kvm_shared_msr_cpu_online: remember the host's values. */
  cpuOnline(cpu: number): void {
    const processor = this.host.processors[cpu];
    this.#own(processor);
    const values = this.#msrs.map((msr) => processor.rdmsr(msr));
    this.#host[cpu] = values;
    this.#current[cpu] = [...values];
  }

  /** kvm_set_shared_msr on the current processor: true = the processor refused the value. */
  set(slot: number, value: bigint, mask: bigint): boolean {
    const processor = this.host.scheduler.current();
    this.#own(processor);
    const current = this.#current[processor.id];
    if (((value ^ current[slot]) & mask) === 0n) return false;
    const wanted = (this.#host[processor.id][slot] & ~mask) | (value & mask);
    try {
      processor.wrmsr(this.#msrs[slot], wanted);
    } catch (error) {
      if (isHostGeneralProtection(error)) return true;
      throw error;
    }
    current[slot] = wanted;
    return false;
  }

  #own(processor: LogicalProcessor): void {
    const owner = owners.get(processor);
    if (owner === this) return;
    owner?.restoreHost(processor.id);
    owners.set(processor, this);
  }

  /** kvm_on_user_return: put the host's values back. */
  restoreHost(cpu: number): void {
    const current = this.#current[cpu];
    if (current === undefined) return;
    const host = this.#host[cpu];
    const processor = this.host.processors[cpu];
    for (let slot = 0; slot < current.length; slot++) {
      if (current[slot] === host[slot]) continue;
      processor.wrmsr(this.#msrs[slot], host[slot]);
      current[slot] = host[slot];
    }
    if (owners.get(processor) === this) owners.delete(processor);
  }
}
