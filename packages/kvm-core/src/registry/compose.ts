import { checkInterceptor } from "../contract/index.js";
import type { ArchBackend, Host, Interceptor } from "../contract/index.js";
import { KvmCore } from "../core.js";
import type { GenericLayer } from "../init.js";
import { Kvm } from "../kvm.js";
import { chooseBackend } from "./discovery.js";
import { Registry } from "./registry.js";
import { BACKEND, HOST, inject, injectable, injectAll, INTERCEPTOR, token, type Token } from "./tokens.js";

/** The parts of a core. */
export interface CoreParts {
  readonly host: Host;
  /** Tried in this order. */
  readonly backends: readonly ArchBackend[];
  /** Attached to the whole core before the first op is called. */
  readonly interceptors?: readonly Interceptor[];
  readonly options?: CoreOptions;
}

export interface CoreOptions {
  /** Name of the backend to take; otherwise the first that probes successfully. */
  readonly backend?: string;
}

const OPTIONS: Token<CoreOptions> = token("CoreOptions");
const ASSEMBLY: Token<Assembly> = token("Assembly");

/** What is composed, before the backend is chosen. */
@injectable()
class Assembly {
  readonly core: KvmCore;

  constructor(
    @inject(HOST) host: Host,
    @injectAll(BACKEND) readonly backends: readonly ArchBackend[],
    @injectAll(INTERCEPTOR) interceptors: readonly Interceptor[],
    @inject(OPTIONS) readonly options: CoreOptions,
  ) {
    for (const interceptor of interceptors) checkInterceptor(interceptor);
    this.core = new KvmCore(host);
    for (const interceptor of interceptors) this.core.attach(interceptor);
  }
}

/** Register the parts of a core under their tokens. A composition root may register more, or other, before it composes. */
export function registerCore(parts: CoreParts, registry: Registry = new Registry()): Registry {
  registry.value(HOST, parts.host).value(OPTIONS, parts.options ?? {});
  for (const backend of parts.backends) registry.value(BACKEND, backend);
  for (const interceptor of parts.interceptors ?? []) registry.value(INTERCEPTOR, interceptor);
  return registry;
}

/** Assemble what is registered, and have the core take a backend. `build` makes the generic layer over the core. */
export function assemble<T extends { readonly layer: GenericLayer }>(
  registry: Registry,
  build: (core: KvmCore) => T,
): T {
  if (!registry.has(ASSEMBLY)) registry.class(ASSEMBLY, Assembly);
  const { core, backends, options } = registry.one(ASSEMBLY);
  const kvm = build(core);
  chooseBackend(core, backends, kvm.layer, options.backend);
  return kvm;
}

/**
 * Compose a core: find a backend for the host's processor, register it, and give the KVM API over it.
 *
 * @throws KvmError where no backend fits or registration fails; InterceptorError where an interceptor is defined wrongly
 */
export function composeCore(parts: CoreParts): Kvm {
  return assemble(registerCore(parts), (core) => new Kvm(core));
}
