import type { KvmIntel } from "../kvm-intel.js";
import { hasWbinvdExit } from "../vmcs/capabilities.js";

export function cpuHasVmxWbinvdExit(intel: KvmIntel): boolean {
  return hasWbinvdExit(intel.config);
}
