import { EPYC } from "./amd.js";
import { SKYLAKE_SERVER, SKYLAKE_SERVER_VARIANTS } from "./intel.js";
import type { ProcessorProfile } from "./profile.js";

export type { CpuidRow, ProcessorProfile, VmxFeature, VmxProfile } from "./profile.js";
export { EPYC, SKYLAKE_SERVER };

/** Every profile, the default first. */
export const PROFILES: readonly ProcessorProfile[] = [SKYLAKE_SERVER, EPYC, ...SKYLAKE_SERVER_VARIANTS];

/** The profile with this name; a name that does not exist is a `RangeError` that lists what there is. */
export function profileNamed(name: string): ProcessorProfile {
  const found = PROFILES.find((profile) => profile.name === name);
  if (found === undefined) {
    throw new RangeError(`no processor profile "${name}"; there are: ${PROFILES.map((p) => p.name).join(", ")}`);
  }
  return found;
}
