import { CPUID } from "@tapvisor/x86-isa";
import { type ArchBackend, type CpuidEntry, InterceptorError, KvmError, type KvmExports } from "./contract/index.js";
import type { KvmCore } from "./core.js";
import { hostHas } from "./cpuid/host.js";
import { supportedCpuid } from "./cpuid/supported.js";
import { createExports } from "./exports.js";
import { checkExtension } from "./extensions.js";
import { type GenericLayer, kvmExit } from "./init.js";
import { msrIndexList } from "./msr/list.js";
import { EFER_RESERVED, KvmState } from "./state/kvm-state.js";
import { KvmVm } from "./vm.js";

/**
 * The generic layer over one core: the ioctls of /dev/kvm.
 */
export class Kvm extends KvmState {
  #msrList: readonly number[] = [];
  readonly #vms = new Set<KvmVm>();
  #nextVmId = 0;
  /** Processors on which `hardware_enable` has succeeded. */
  readonly #enabled = new Set<number>();
  readonly #exports: KvmExports;

  /** @param core the host, the call table and the hooks; `kvmInit` gives it a backend */
  constructor(readonly core: KvmCore) {
    super(core.host, core.ops, core.hooks.events);
    this.#exports = createExports(this);
  }

  get backend(): ArchBackend | undefined {
    return this.core.backend;
  }

  get vms(): readonly KvmVm[] {
    return [...this.#vms];
  }

  // --- registration

  /** kvm_arch_init, _exit and _hardware_setup: what `kvmInit` asks of this layer. */
  get layer(): GenericLayer {
    return {
      exports: this.#exports,
      archInit: () => {
        if (hostHas(this, CPUID.XSAVE)) this.hostXcr0 = this.host.scheduler.current().readXcr0();
      },
      archExit: () => {
        this.tdpEnabled = false;
        this.eferReservedBits = EFER_RESERVED;
      },
      hardwareSetup: () => {
        this.#msrList = msrIndexList(this);
        if (this.tdpEnabled) this.tdpLevel = this.ops.get_tdp_level();
      },
    };
  }

  /** kvm_exit: the backend goes. EBUSY while a VM exists. */
  exit(): void {
    if (this.#vms.size > 0) throw new KvmError("EBUSY", "kvm_exit", `${this.#vms.size} VMs exist`);
    kvmExit(this.core, this.layer);
  }

  // --- VMs

  /** KVM_CREATE_VM. The first one turns virtualization on, on every processor. */
  createVm(): KvmVm {
    if (!this.backend) throw new KvmError("ENODEV", "KVM_CREATE_VM", "no backend is registered");
    const vm = new KvmVm(this, this.#nextVmId++, (gone) => this.#vmGone(gone));
    this.ops.vm_init(vm);
    try {
      if (this.#vms.size === 0) this.#enableAll();
    } catch (error) {
      this.ops.vm_destroy?.(vm);
      throw error;
    }
    this.#vms.add(vm);
    this.hooks.vmCreated.call({ vm });
    return vm;
  }

  /** The last VM turns virtualization off. */
  #vmGone(vm: KvmVm): void {
    this.#vms.delete(vm);
    if (this.#vms.size === 0) this.#disableAll();
  }

  /** hardware_enable_all. Where one processor fails, those before it are turned off again. */
  #enableAll(): void {
    const { host, ops } = this;
    for (const processor of host.processors) {
      if (!processor.online) continue;
      try {
        host.scheduler.runOn(processor.id, () => {
          this.sharedMsrs.cpuOnline(processor.id);
          ops.hardware_enable();
        });
      } catch (cause) {
        this.#disableAll();
        if (cause instanceof InterceptorError) throw cause;
        throw new KvmError("EBUSY", "KVM_CREATE_VM", `virtualization cannot be enabled on processor ${processor.id}`, {
          cause,
        });
      }
      this.#enabled.add(processor.id);
    }
  }

  #disableAll(): void {
    for (const cpu of this.#enabled) {
      this.host.scheduler.runOn(cpu, () => {
        this.ops.hardware_disable();
        this.sharedMsrs.restoreHost(cpu);
      });
    }
    this.#enabled.clear();
  }

  // --- what the API tells

  /** KVM_GET_SUPPORTED_CPUID. */
  getSupportedCpuid(): CpuidEntry[] {
    return supportedCpuid(this);
  }

  /** KVM_GET_MSR_INDEX_LIST. */
  getMsrIndexList(): readonly number[] {
    return this.#msrList;
  }

  /** KVM_CHECK_EXTENSION by the capability's name without KVM_CAP_; 0 for one that is not there. */
  checkExtension(capability: string): number {
    return checkExtension(this, capability);
  }
}
