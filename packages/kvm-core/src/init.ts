import { KvmError } from "./contract/index.js";
import type { ArchBackend, KvmExports } from "./contract/index.js";
import type { KvmCore } from "./core.js";

/** The generic layer's own steps of registration, in the order in which they are taken, and their undoing. */
export interface GenericLayer {
  /** What backends are given to stand on. */
  readonly exports: KvmExports;
  /** kvm_arch_init after the probes: the MMU's module, the host's XCR0. */
  archInit(): void;
  /** kvm_arch_exit. */
  archExit(): void;
  /** After the op `hardware_setup`: the list of MSRs that are saved and restored. */
  hardwareSetup(): void;
}

/**
 * Register a backend with a core: kvm_init and kvm_arch_init. When a step fails, those before it are undone in reverse,
 * and the core is as if nothing had happened.
 *
 * @throws KvmError EEXIST when the core has a backend; EOPNOTSUPP when the processor lacks the extension or the firmware
 * disabled it; EIO when the processors differ; and what `hardware_setup` throws
 */
export function kvmInit(core: KvmCore, backend: ArchBackend, layer: GenericLayer): void {
  if (core.dispatch.isBound) {
    throw new KvmError("EEXIST", "kvm_init", `already loaded: ${core.backend?.name ?? "a backend"}`);
  }
  const { host, dispatch, ops } = core;
  const undo: (() => void)[] = [];
  try {
    const { ops: functions } = backend.create({ host, kvm: layer.exports, ops: dispatch.backendCalls });
    dispatch.bind(backend.name, functions);
    undo.push(() => dispatch.unbind());

    if (!ops.cpu_has_kvm_support())
      throw new KvmError("EOPNOTSUPP", "kvm_init", `${backend.name}: no hardware support`);
    if (ops.disabled_by_bios())
      throw new KvmError("EOPNOTSUPP", "kvm_init", `${backend.name}: disabled by the firmware`);
    layer.archInit();
    undo.push(() => layer.archExit());

    ops.hardware_setup();
    undo.push(() => ops.hardware_unsetup());
    dispatch.freeze(backend.name, functions);
    layer.hardwareSetup();

    for (const { id, online } of host.processors) {
      if (online && !host.scheduler.runOn(id, () => ops.check_processor_compatibility())) {
        throw new KvmError("EIO", "kvm_init", `${backend.name}: processor ${String(id)} differs from the others`);
      }
    }
    core.backend = backend;
    core.hooks.events.backendChosen.call({ backend });
  } catch (error) {
    core.backend = undefined;
    const failures = undo.reverse().flatMap(failureOf);
    if (failures.length === 0) throw error;
    throw new AggregateError([error, ...failures], "kvm_init failed, and so did its roll-back", { cause: error });
  }
}

/** Run one step of a roll-back: the others have to run too, whatever it throws. */
function failureOf(step: () => void): unknown[] {
  try {
    step();
    return [];
  } catch (error) {
    return [error];
  }
}

/** Take the backend out again: kvm_exit. Whoever calls it has destroyed the VMs, so that no processor is enabled. */
export function kvmExit(core: KvmCore, layer: GenericLayer): void {
  if (core.backend === undefined) throw new KvmError("ENODEV", "kvm_exit", "no backend is registered");
  core.ops.hardware_unsetup();
  layer.archExit();
  core.dispatch.unbind();
  core.backend = undefined;
}
