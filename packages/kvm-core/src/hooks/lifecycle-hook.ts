import { KvmError, LIFECYCLE_NAMES } from "../contract/index.js";
import type { InterceptorScope, LifecycleEvents, LifecycleName, Vcpu, Vm } from "../contract/index.js";
import { LiveHook, type TapOrder } from "./live-hook.js";
import { inScope, type Owner } from "./owner.js";

interface AttachedHandler {
  readonly owner: Owner;
  readonly scope: InterceptorScope | undefined;
  readonly handler: (event: object) => void;
}

/** The hook of one kind of event. Firing it costs a look at `used` where nobody listens. */
export class LifecycleHook<N extends LifecycleName = LifecycleName> extends LiveHook<
  LifecycleEvents[N],
  void,
  AttachedHandler,
  AttachedHandler
> {
  constructor(name: N) {
    super(name, (taps) => (event) => {
      const { vm, vcpu } = scopeOf(event);
      for (const { owner, scope, handler } of taps) {
        if (owner.busy || !inScope(scope, vm, vcpu)) continue;
        owner.run(
          `hooks.${name}`,
          (error) => isRefusal(error, name),
          () => handler(event),
        );
      }
    });
  }

  attach(
    order: TapOrder,
    owner: Owner,
    scope: InterceptorScope | undefined,
    handler: (event: LifecycleEvents[N]) => void,
  ): () => void {
    return this.tap(order, { owner, scope, handler: handler as (event: object) => void });
  }
}

/** Every lifecycle hook of a core. */
export type LifecycleHooks = { readonly [N in LifecycleName]: LifecycleHook<N> };

export function createLifecycleHooks(): LifecycleHooks {
  const hooks = Object.fromEntries(LIFECYCLE_NAMES.map((name) => [name, new LifecycleHook(name)]));
  return Object.freeze(hooks) as unknown as LifecycleHooks;
}

function scopeOf(event: object): { vm: Vm | undefined; vcpu: Vcpu | undefined } {
  const { vm, vcpu } = event as { vm?: Vm; vcpu?: Vcpu };
  return { vm: vm ?? vcpu?.vm, vcpu };
}

/** A refusal in the hook's own name, unlike what an interceptor throws by mistake. */
function isRefusal(error: unknown, name: string): boolean {
  return error instanceof KvmError && error.syscall === name;
}
