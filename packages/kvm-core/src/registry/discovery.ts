import { KvmError } from "../contract/index.js";
import type { ArchBackend } from "../contract/index.js";
import type { KvmCore } from "../core.js";
import { kvmInit, type GenericLayer } from "../init.js";

/**
 * Find the backend of a core and register it: the one asked for by name, or the first that probes successfully. The hook
 * `discoverBackends` may add, remove and move what was found.
 *
 * @throws KvmError ENODEV where there is no backend, or none of that name; EOPNOTSUPP where none supports the processor;
 * EEXIST where two have the same name; and what `kvmInit` throws after a successful probe
 */
export function chooseBackend(
  core: KvmCore,
  found: readonly ArchBackend[],
  layer: GenericLayer,
  name?: string,
): ArchBackend {
  const event = { backends: [...found] };
  core.hooks.events.discoverBackends.call(event);
  const { backends } = event;
  const names = backends.map((backend) => backend.name);
  const twice = names.find((candidate, i) => names.indexOf(candidate) !== i);
  if (twice !== undefined) throw new KvmError("EEXIST", "kvm_init", `two backends are called "${twice}"`);
  if (backends.length === 0) throw new KvmError("ENODEV", "kvm_init", "there is no backend");

  if (name !== undefined) {
    const asked = backends.find((backend) => backend.name === name);
    if (asked === undefined) {
      throw new KvmError("ENODEV", "kvm_init", `there is no backend "${name}"; there are: ${names.join(", ")}`);
    }
    kvmInit(core, asked, layer);
    return asked;
  }

  const refusals: KvmError[] = [];
  for (const backend of backends) {
    try {
      kvmInit(core, backend, layer);
      return backend;
    } catch (error) {
      if (!(error instanceof KvmError) || error.code !== "EOPNOTSUPP") throw error;
      refusals.push(error);
    }
  }
  const reasons = refusals.map((refusal) => refusal.message).join("; ");
  throw new KvmError("EOPNOTSUPP", "kvm_init", `no backend supports this processor: ${reasons}`, {
    cause: refusals.length === 1 ? refusals[0] : new AggregateError(refusals, reasons),
  });
}
