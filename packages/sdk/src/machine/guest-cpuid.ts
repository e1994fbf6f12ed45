import { CPUID, type CpuidFeatureName } from "@tapvisor/x86-isa";
import type { CpuidEntry } from "@tapvisor/kvm-core";

/** What of a machine the guest's CPUID shows. */
export interface CpuidChoices {
  readonly cpus?: number;
  /** Vendor that the guest's CPUID shows, twelve letters; the processor's own unless told otherwise. */
  readonly cpuidVendor?: string;
  /** Features that the core serves and the guest's CPUID does not show. */
  readonly cpuidWithout?: readonly CpuidFeatureName[];
}

/** CPUID.1:ECX bits that user space adds: the core serves TSC-deadline timers, and software may know that it is a guest. */
const TSC_DEADLINE = 1 << CPUID.TSC_DEADLINE.bit;
const HYPERVISOR = 1 << CPUID.HYPERVISOR.bit;

/** What the core supports, with the identity of one vCPU in it, and without what the guest is not to see. */
export function guestCpuid(supported: readonly CpuidEntry[], id: number, choices: CpuidChoices): CpuidEntry[] {
  const { cpus = 1, cpuidVendor, cpuidWithout = [] } = choices;
  const name = cpuidVendor === undefined ? undefined : vendorWords(cpuidVendor);
  const entries = supported.map((entry): CpuidEntry => {
    switch (entry.function) {
      case 0:
      case 0x8000_0000:
        return { ...entry, ...name };
      case 1: {
        const ebx = ((entry.ebx & 0x0000ffff) | (cpus << 16) | (id << 24)) >>> 0;
        return { ...entry, ebx, ecx: (entry.ecx | TSC_DEADLINE | HYPERVISOR) >>> 0 };
      }
      // Extended topology: the x2APIC ID.
      case 0xb:
        return { ...entry, edx: id };
      default:
        return { ...entry };
    }
  });
  for (const feature of cpuidWithout) {
    const { leaf, subleaf, register, bit } = CPUID[feature];
    for (const entry of entries) {
      if (entry.function === leaf && entry.index === subleaf) entry[register] = (entry[register] & ~(1 << bit)) >>> 0;
    }
  }
  return entries;
}

/** The twelve letters of a vendor as CPUID has them, in EBX, EDX and ECX. */
function vendorWords(vendor: string) {
  const letters = new DataView(new TextEncoder().encode(vendor.padEnd(12, "\0")).buffer);
  return { ebx: letters.getUint32(0, true), edx: letters.getUint32(4, true), ecx: letters.getUint32(8, true) };
}
