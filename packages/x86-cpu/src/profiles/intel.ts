import { FEATURE_CONTROL, type CpuidFeatureName } from "@tapvisor/x86-isa";
import type { ProcessorProfile, VmxFeature, VmxProfile } from "./profile.js";

/** What the processor implements, whoever the vendor. */
export const COMMON_FEATURES: readonly CpuidFeatureName[] = [
  "FPU", "MMX", "FXSR", "SSE", "SSE2", "SSE3", "SSSE3", "SSE4_1", "SSE4_2",
  "PCLMULQDQ", "AES", "XSAVE", "XSAVEOPT", "XSAVEC", "XGETBV_ECX1",
  "VME", "DE", "PSE", "TSC", "MSR", "PAE", "MCE", "CX8", "APIC", "SEP", "MTRR", "PGE", "MCA", "CMOV", "PAT", "PSE36", "CLFSH",
  "CMPXCHG16B", "MOVBE", "POPCNT", "RDRAND",
  "FSGSBASE", "BMI1", "SMEP", "BMI2", "ERMS", "RDSEED", "ADX", "SMAP", "CLFLUSHOPT",
  "LAHF_SAHF", "LZCNT", "PREFETCHW", "SYSCALL", "NX", "PAGE1GB", "RDTSCP", "LM", "INVARIANT_TSC",
]; // prettier-ignore

const VMX: VmxProfile = { revisionId: 4, preemptionTimerRate: 0, without: [] };

/** A server processor of the Skylake generation, as far as it is implemented: without AVX and what follows it. */
export const SKYLAKE_SERVER: ProcessorProfile = {
  name: "skylake-server",
  summary: "Intel, Skylake generation, instruction sets up to SSE4.2, VT-x with EPT, VPID and unrestricted guest",
  vendor: "intel",
  family: 6,
  model: 0x55,
  stepping: 4,
  brand: "Tapvisor software processor (Skylake server)",
  physicalAddressBits: 46,
  linearAddressBits: 48,
  features: [...COMMON_FEATURES, "FDP_EXCPTN_ONLY", "FPU_CS_DS_DEPRECATED", "MONITOR", "VMX", "PCID", "INVPCID"],
  cpuid: [
    // Deterministic cache parameters: L1D 32 KiB, L1I 32 KiB, L2 1 MiB, L3 1.375 MiB, lines of 64 bytes.
    { leaf: 0x4, subleaf: 0, eax: 0x121, ebx: 0x1c0003f, ecx: 63 },
    { leaf: 0x4, subleaf: 1, eax: 0x122, ebx: 0x1c0003f, ecx: 63 },
    { leaf: 0x4, subleaf: 2, eax: 0x143, ebx: 0x3c0003f, ecx: 1023 },
    { leaf: 0x4, subleaf: 3, eax: 0x163, ebx: 0x280003f, ecx: 2047, edx: 0x4 },
    // MONITOR/MWAIT: lines of 64 bytes, extensions enumerated, interrupts break.
    { leaf: 0x5, eax: 64, ebx: 64, ecx: 3 },
  ],
  featureControl: FEATURE_CONTROL.LOCKED | FEATURE_CONTROL.VMXON_ENABLED_OUTSIDE_SMX,
  vmx: VMX,
};

const variant = (name: string, summary: string, without: readonly VmxFeature[]): ProcessorProfile => ({
  ...SKYLAKE_SERVER,
  name: `skylake-server-${name}`,
  summary,
  vmx: { ...VMX, without },
});

/** The same processor without one thing each, so that a backend takes another path. */
export const SKYLAKE_SERVER_VARIANTS: readonly ProcessorProfile[] = [
  variant("no-ept", "without EPT, and so without unrestricted guest", ["ept"]),
  variant("no-unrestricted", "without unrestricted guest", ["unrestrictedGuest"]),
  variant("no-vpid", "without VPID", ["vpid"]),
  variant("no-preemption-timer", "without the VMX preemption timer", ["preemptionTimer"]),
  variant("no-virtual-nmis", "without virtual NMIs", ["virtualNmis"]),
  variant("no-msr-bitmaps", "without MSR bitmaps", ["msrBitmaps"]),
  variant("no-ept-ad", "without accessed and dirty flags in EPT", ["eptAccessedDirty"]),
  variant("no-secondary", "without secondary processor-based controls, as the first processors with VT-x", [
    "secondaryControls",
    "trueControls",
  ]),
  {
    ...variant("no-vme", "without unrestricted guest and virtual-8086 extensions", ["unrestrictedGuest"]),
    features: SKYLAKE_SERVER.features.filter((name) => name !== "VME"),
  },
  {
    ...variant("umip", "with user-mode instruction prevention, as later generations have it", []),
    features: [...SKYLAKE_SERVER.features, "UMIP"],
  },
  { ...variant("36-bit", "with physical addresses of 36 bits", []), physicalAddressBits: 36 },
  {
    ...SKYLAKE_SERVER,
    name: "skylake-server-vmx-locked-off",
    summary: "the firmware has locked IA32_FEATURE_CONTROL with VMXON disabled",
    featureControl: FEATURE_CONTROL.LOCKED,
  },
];
