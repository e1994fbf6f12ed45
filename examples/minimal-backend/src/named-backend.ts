import { vmxBackend, type VmxProcessor } from "@tapvisor/arch-vmx";
import { defineArchBackend, defineInterceptor } from "@tapvisor/sdk";

/** What CPUID tells as the processor's name in three leaves of 16 characters (SDM vol. 2A, "CPUID"). */
const BRAND_FIRST = 0x8000_0002;
const BRAND_LAST = 0x8000_0004;

/** A backend that is arch-vmx but for one op: it gives guests a processor of another name. */
export function namedBackend(brand: string) {
  const letters = new DataView(new TextEncoder().encode(brand.padEnd(48, "\0")).buffer);
  return defineArchBackend<VmxProcessor>({
    name: "named-vmx",
    vendor: "GenuineIntel",
    create(deps) {
      // Change the backend's own table: hardware_setup takes out of it what the processor cannot serve.
      const { ops } = vmxBackend.create(deps);
      const setSupportedCpuid = ops.set_supported_cpuid;
      ops.set_supported_cpuid = (leaf, entry) => {
        setSupportedCpuid(leaf, entry);
        if (leaf < BRAND_FIRST || leaf > BRAND_LAST) return;
        const at = (leaf - BRAND_FIRST) * 16;
        entry.eax = letters.getUint32(at, true);
        entry.ebx = letters.getUint32(at + 4, true);
        entry.ecx = letters.getUint32(at + 8, true);
        entry.edx = letters.getUint32(at + 12, true);
      };
      return { ops };
    },
  });
}

/** A plugin that offers the backend to the core before all others. */
export function offerNamedBackend(brand: string) {
  const backend = namedBackend(brand);
  return defineInterceptor({
    name: "offer named-vmx",
    hooks: { discoverBackends: (event) => void event.backends.unshift(backend) },
  });
}
