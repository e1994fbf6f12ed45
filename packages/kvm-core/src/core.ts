import type { ArchBackend, Attachment, Host, Interceptor, InterceptorScope, OpCaller } from "./contract/index.js";
import { OpDispatch, type CoreHooks } from "./dispatch/dispatch.js";

/**
 * What one core is before it has a backend: the host that it stands on, the call table, and the hooks. One core holds
 * one backend, as in Linux; a process may hold several cores.
 */
export class KvmCore {
  readonly host: Host;
  readonly dispatch: OpDispatch;
  readonly hooks: CoreHooks;
  /** The generic layer's way to the ops: `core.ops.get_msr(vcpu, msr)`. Keep this object, never a function of it. */
  readonly ops: OpCaller;
  /** The registered backend: set by `kvmInit`, undefined before it and after `kvmExit`. */
  backend: ArchBackend | undefined = undefined;

  constructor(host: Host) {
    this.host = host;
    this.dispatch = new OpDispatch(host.clock);
    this.hooks = this.dispatch.hooks;
    this.ops = this.dispatch.coreCalls;
  }

  /** Attach an interceptor to the whole core, to one VM or to one vCPU; the result detaches it. */
  attach(interceptor: Interceptor, scope?: InterceptorScope): Attachment {
    return this.dispatch.attach(interceptor, scope);
  }
}
