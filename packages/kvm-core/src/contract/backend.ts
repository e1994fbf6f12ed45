import type { Host, LogicalProcessor } from "../host/index.js";
import type { KvmExports } from "./exports.js";
import type { KvmX86Ops, OpCaller, OpName } from "./op-types.js";

/** What a backend gets when a core takes it. */
export interface BackendDeps<P extends LogicalProcessor = LogicalProcessor> {
  readonly host: Host<P>;
  /** The generic layer's functions for backends. */
  readonly kvm: KvmExports;
  /**
   * The backend's own way to its ops. A call through it passes the call table, and is marked as the backend's own: a
   * backend that called its functions past it could be neither traced nor tested. It can be called from the first op
   * on, not before `create` has returned.
   */
  readonly ops: OpCaller;
}

/** A backend as one core runs it. */
export interface BackendInstance {
  /**
   * The functions. `hardware_setup` may still take out or exchange optional members; then the table is frozen and this
   * object is not looked at again.
   */
  readonly ops: KvmX86Ops;
}

/** An architecture backend: a plain object, from which every core that takes it makes an instance of its own. */
export interface ArchBackend<P extends LogicalProcessor = LogicalProcessor> {
  /** Unique among the backends that a core is offered: `vmx`, `svm`. */
  readonly name: string;
  /** CPU vendor as CPUID leaf 0 spells it, or a list of them: for messages only; `cpu_has_kvm_support` decides. */
  readonly vendor: string;
  /** Ops that it registers and does not serve yet: a call throws ENOSYS in the op's name. */
  readonly notImplemented?: readonly OpName[];
  create(deps: BackendDeps<P>): BackendInstance;
}

/** Define an architecture backend. The identity function at run time, but for the checks of its shape. */
export function defineArchBackend<P extends LogicalProcessor = LogicalProcessor>(
  backend: ArchBackend<P>,
): ArchBackend<P> {
  if (!/^[a-z][a-z0-9-]*$/.test(backend.name)) {
    throw new TypeError(
      `name of a backend: expected lower-case letters, digits and "-", got ${JSON.stringify(backend.name)}`,
    );
  }
  if (typeof backend.create !== "function") {
    throw new TypeError(`backend "${backend.name}": create must be a function, got ${typeof backend.create}`);
  }
  return Object.freeze({ ...backend });
}
