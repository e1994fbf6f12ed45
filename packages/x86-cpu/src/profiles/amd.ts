import { COMMON_FEATURES } from "./intel.js";
import type { ProcessorProfile } from "./profile.js";

/** A server processor of the Zen generation, as far as it is implemented. It shows SVM, and has none of it yet. */
export const EPYC: ProcessorProfile = {
  name: "epyc",
  summary: "AMD, Zen generation, instruction sets up to SSE4.2; CPUID shows SVM, VMRUN and its companions raise #UD",
  vendor: "amd",
  family: 0x17,
  model: 1,
  stepping: 2,
  brand: "Tapvisor software processor (EPYC)",
  physicalAddressBits: 48,
  linearAddressBits: 48,
  features: [...COMMON_FEATURES, "SVM", "SVM_NPT", "SVM_NRIPS", "SVM_LOCK", "SVM_FLUSH_BY_ASID"],
  cpuid: [
    // L1 data and instruction caches and L2: 32 KiB, 64 KiB, 512 KiB.
    { leaf: 0x80000005, eax: 0xff40ff40, ebx: 0xff40ff40, ecx: 0x20080140, edx: 0x40040140 },
    { leaf: 0x80000006, ebx: 0x64006400, ecx: 0x02006140 },
    // SVM revision 1 and 32768 ASIDs.
    { leaf: 0x8000000a, eax: 1, ebx: 32768 },
  ],
};
