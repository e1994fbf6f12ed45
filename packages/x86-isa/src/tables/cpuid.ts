/** A register that CPUID writes. */
export type CpuidRegister = "eax" | "ebx" | "ecx" | "edx";

/** Where CPUID shows a feature. */
export interface CpuidFeature {
  readonly name: string;
  readonly leaf: number;
  readonly subleaf: number;
  readonly register: CpuidRegister;
  readonly bit: number;
}

/** Leaves of CPUID (SDM vol. 2, "CPUID - CPU Identification"). */
export const CPUID_LEAF = {
  VENDOR: 0x0,
  VERSION: 0x1,
  CACHE_DESCRIPTORS: 0x2,
  CACHE_PARAMETERS: 0x4,
  MONITOR_MWAIT: 0x5,
  THERMAL_POWER: 0x6,
  STRUCTURED_FEATURES: 0x7,
  DIRECT_CACHE_ACCESS: 0x9,
  PERFORMANCE_MONITORING: 0xa,
  EXTENDED_TOPOLOGY: 0xb,
  XSAVE: 0xd,
  TSC_FREQUENCY: 0x15,
  PROCESSOR_FREQUENCY: 0x16,
  HYPERVISOR: 0x40000000,
  HYPERVISOR_FEATURES: 0x40000001,
  EXTENDED_MAX: 0x80000000,
  EXTENDED_FEATURES: 0x80000001,
  BRAND_STRING_0: 0x80000002,
  BRAND_STRING_1: 0x80000003,
  BRAND_STRING_2: 0x80000004,
  L1_CACHE: 0x80000005,
  L2_CACHE: 0x80000006,
  POWER_MANAGEMENT: 0x80000007,
  ADDRESS_SIZES: 0x80000008,
  SVM: 0x8000000a,
} as const;

type Word = readonly [leaf: number, subleaf: number, register: CpuidRegister, bits: Readonly<Record<string, number>>];

const FEATURE_WORDS = [
  [
    0x1, 0, "ecx",
    {
      SSE3: 0, PCLMULQDQ: 1, DTES64: 2, MONITOR: 3, DS_CPL: 4, VMX: 5, SMX: 6, EIST: 7, TM2: 8, SSSE3: 9, CNXT_ID: 10,
      SDBG: 11, FMA: 12, CMPXCHG16B: 13, XTPR: 14, PDCM: 15, PCID: 17, DCA: 18, SSE4_1: 19, SSE4_2: 20, X2APIC: 21,
      MOVBE: 22, POPCNT: 23, TSC_DEADLINE: 24, AES: 25, XSAVE: 26, OSXSAVE: 27, AVX: 28, F16C: 29, RDRAND: 30,
      HYPERVISOR: 31,
    },
  ],
  [
    0x1, 0, "edx",
    {
      FPU: 0, VME: 1, DE: 2, PSE: 3, TSC: 4, MSR: 5, PAE: 6, MCE: 7, CX8: 8, APIC: 9, SEP: 11, MTRR: 12, PGE: 13,
      MCA: 14, CMOV: 15, PAT: 16, PSE36: 17, PSN: 18, CLFSH: 19, DS: 21, ACPI: 22, MMX: 23, FXSR: 24, SSE: 25, SSE2: 26,
      SS: 27, HTT: 28, TM: 29, PBE: 31,
    },
  ],
  [0x6, 0, "eax", { DTHERM: 0, TURBO_BOOST: 1, ARAT: 2 }],
  [
    0x7, 0, "ebx",
    {
      FSGSBASE: 0, TSC_ADJUST: 1, SGX: 2, BMI1: 3, HLE: 4, AVX2: 5, FDP_EXCPTN_ONLY: 6, SMEP: 7, BMI2: 8, ERMS: 9,
      INVPCID: 10, RTM: 11, RDT_M: 12, FPU_CS_DS_DEPRECATED: 13, MPX: 14, RDT_A: 15, AVX512F: 16, AVX512DQ: 17,
      RDSEED: 18, ADX: 19, SMAP: 20, AVX512_IFMA: 21, CLFLUSHOPT: 23, CLWB: 24, INTEL_PT: 25, AVX512PF: 26,
      AVX512ER: 27, AVX512CD: 28, SHA: 29, AVX512BW: 30, AVX512VL: 31,
    },
  ],
  [
    0x7, 0, "ecx",
    {
      PREFETCHWT1: 0, AVX512_VBMI: 1, UMIP: 2, PKU: 3, OSPKE: 4, WAITPKG: 5, AVX512_VBMI2: 6, CET_SS: 7, GFNI: 8,
      VAES: 9, VPCLMULQDQ: 10, AVX512_VNNI: 11, AVX512_BITALG: 12, AVX512_VPOPCNTDQ: 14, LA57: 16, RDPID: 22, KL: 23,
      BUS_LOCK_DETECT: 24, CLDEMOTE: 25, MOVDIRI: 27, MOVDIR64B: 28, ENQCMD: 29, SGX_LC: 30, PKS: 31,
    },
  ],
  [
    0x7, 0, "edx",
    {
      AVX512_4VNNIW: 2, AVX512_4FMAPS: 3, FSRM: 4, MD_CLEAR: 10, SERIALIZE: 14, HYBRID: 15, TSXLDTRK: 16, PCONFIG: 18,
      CET_IBT: 20, SPEC_CTRL: 26, STIBP: 27, L1D_FLUSH: 28, ARCH_CAPABILITIES_MSR: 29, SSBD: 31,
    },
  ],
  [0xd, 1, "eax", { XSAVEOPT: 0, XSAVEC: 1, XGETBV_ECX1: 2, XSAVES: 3 }],
  [
    0x80000001, 0, "ecx",
    {
      LAHF_SAHF: 0, CMP_LEGACY: 1, SVM: 2, EXTAPIC: 3, ALT_MOV_CR8: 4, LZCNT: 5, SSE4A: 6, MISALIGNSSE: 7,
      PREFETCHW: 8, OSVW: 9, IBS: 10, XOP: 11, SKINIT: 12, WDT: 13, LWP: 15, FMA4: 16, TCE: 17, NODEID_MSR: 19, TBM: 21,
      TOPOEXT: 22, PERFCTR_CORE: 23, PERFCTR_NB: 24,
    },
  ],
  [
    0x80000001, 0, "edx",
    { SYSCALL: 11, NX: 20, MMXEXT: 22, FXSR_OPT: 25, PAGE1GB: 26, RDTSCP: 27, LM: 29, "3DNOWEXT": 30, "3DNOW": 31 },
  ],
  [0x80000007, 0, "edx", { INVARIANT_TSC: 8 }],
  [0x80000008, 0, "ebx", { CLZERO: 0, WBNOINVD: 9, IBPB: 12 }],
  [
    0x8000000a, 0, "edx",
    {
      SVM_NPT: 0, SVM_LBRV: 1, SVM_LOCK: 2, SVM_NRIPS: 3, SVM_TSC_RATE_MSR: 4, SVM_VMCB_CLEAN: 5, SVM_FLUSH_BY_ASID: 6,
      SVM_DECODE_ASSISTS: 7, SVM_PAUSE_FILTER: 10, SVM_PAUSE_FILTER_THRESHOLD: 12, SVM_AVIC: 13,
    },
  ],
] as const satisfies readonly Word[]; // prettier-ignore

type KeysOfUnion<T> = T extends unknown ? keyof T : never;

/** Names of the features that CPUID tells. */
export type CpuidFeatureName = KeysOfUnion<(typeof FEATURE_WORDS)[number][3]> & string;

/** Every feature bit. */
export const CPUID_FEATURES: readonly CpuidFeature[] = FEATURE_WORDS.flatMap(([leaf, subleaf, register, bits]) =>
  Object.entries(bits).map(([name, bit]) => ({ name, leaf, subleaf, register, bit })),
);

/** Where CPUID shows each feature, by name: `CPUID.SMEP`. */
export const CPUID = Object.fromEntries(CPUID_FEATURES.map((f) => [f.name, f])) as {
  readonly [N in CpuidFeatureName]: CpuidFeature;
};
