import { CPUID, CPUID_LEAF, type CpuidFeatureName } from "@tapvisor/x86-isa";
import type { CpuidEntry } from "../contract/index.js";
import type { KvmState } from "../state/kvm-state.js";
import { hostCpuid, hostHasNx } from "./host.js";
import { setFeature } from "./features.js";
import { supportedXcr0, xstateSize } from "./xstate.js";

type Names = readonly CpuidFeatureName[];

/** Features that a guest may be offered where the host has them: what 4.9's masks let through, by name. */
const VERSION_EDX: Names = [
  "FPU", "VME", "DE", "PSE", "TSC", "MSR", "PAE", "MCE", "CX8", "APIC", "SEP", "MTRR", "PGE", "MCA", "CMOV", "PAT",
  "PSE36", "CLFSH", "MMX", "FXSR", "SSE", "SSE2", "SS",
]; // prettier-ignore
const VERSION_ECX: Names = [
  "SSE3", "PCLMULQDQ", "SSSE3", "FMA", "CMPXCHG16B", "PCID", "SSE4_1", "SSE4_2", "X2APIC", "MOVBE", "POPCNT", "AES",
  "XSAVE", "AVX", "F16C", "RDRAND",
]; // prettier-ignore
const STRUCTURED_EBX: Names = [
  "FSGSBASE", "BMI1", "HLE", "AVX2", "SMEP", "BMI2", "ERMS", "INVPCID", "RTM", "MPX", "RDSEED", "ADX", "SMAP",
  "AVX512F", "AVX512PF", "AVX512ER", "AVX512CD", "CLFLUSHOPT", "CLWB",
]; // prettier-ignore
const STRUCTURED_ECX: Names = ["PKU"];
const XSAVE_EAX: Names = ["XSAVEOPT", "XSAVEC", "XGETBV_ECX1", "XSAVES"];
const EXTENDED_ECX: Names = [
  "LAHF_SAHF", "CMP_LEGACY", "ALT_MOV_CR8", "LZCNT", "SSE4A", "MISALIGNSSE", "PREFETCHW", "OSVW", "XOP", "FMA4", "TBM",
]; // prettier-ignore
const EXTENDED_EDX: Names = [
  "SYSCALL", "NX", "MMXEXT", "FXSR_OPT", "PAGE1GB", "RDTSCP", "LM", "3DNOWEXT", "3DNOW",
]; // prettier-ignore
/** Bits that leaf 80000001H repeats from leaf 1 on AMD processors. */
const EXTENDED_EDX_REPEATED = 0x0183f3ff;

const maskOf = (names: Names): number => names.reduce((mask, name) => mask | (1 << CPUID[name].bit), 0) >>> 0;

/** Highest leaves that are passed on. */
const MAX_BASIC = 0xd;
const MAX_EXTENDED = 0x8000001a;
const SIGNIFICANT = new Set<number>([
  CPUID_LEAF.CACHE_PARAMETERS, CPUID_LEAF.STRUCTURED_FEATURES, CPUID_LEAF.EXTENDED_TOPOLOGY, CPUID_LEAF.XSAVE,
]); // prettier-ignore

/** "KVMKVMKVM" and three zeros, in EBX, ECX and EDX. */
const SIGNATURE = { ebx: 0x4b4d564b, ecx: 0x564b4d56, edx: 0x0000004d };

/** What the ops say the backend can give; a bit without an op is the host's alone. */
function backendAllows(kvm: KvmState): Partial<Record<CpuidFeatureName, boolean>> {
  const { ops } = kvm;
  return {
    RDTSCP: ops.rdtscp_supported(),
    INVPCID: ops.invpcid_supported(),
    MPX: ops.mpx_supported(),
    XSAVES: ops.xsaves_supported(),
    PAGE1GB: ops.get_lpage_level() === 3,
    NX: hostHasNx(kvm),
  };
}

/** KVM_GET_SUPPORTED_CPUID: the host's CPUID, cut to what guests may have; subleaves listed one by one. */
export function supportedCpuid(kvm: KvmState): CpuidEntry[] {
  const entries: CpuidEntry[] = [];
  const add = (leaf: number, subleaf = 0): CpuidEntry => {
    const entry = {
      function: leaf,
      index: subleaf,
      significantIndex: SIGNIFICANT.has(leaf),
      ...hostCpuid(kvm, leaf, subleaf),
    };
    entries.push(entry);
    return entry;
  };
  const allows = backendAllows(kvm);
  const filter = (entry: CpuidEntry): void => filterLeaf(kvm, entry, allows);

  const basic = add(CPUID_LEAF.VENDOR);
  const max = Math.min(basic.eax, MAX_BASIC);
  for (let leaf = 1; leaf <= max; leaf++) {
    const first = add(leaf);
    if (leaf === CPUID_LEAF.CACHE_PARAMETERS) {
      for (let i = 1, last = first; (last.eax & 0x1f) !== 0 && i < 16; i++) last = add(leaf, i);
    } else if (leaf === CPUID_LEAF.EXTENDED_TOPOLOGY) {
      for (let i = 1, last = first; (last.ecx & 0xff00) !== 0 && i < 8; i++) last = add(leaf, i);
    } else if (leaf === CPUID_LEAF.XSAVE) {
      addXsaveComponents(kvm, add);
    }
  }
  add(CPUID_LEAF.HYPERVISOR);
  add(CPUID_LEAF.HYPERVISOR_FEATURES);
  const extended = hostCpuid(kvm, CPUID_LEAF.EXTENDED_MAX, 0).eax;
  const maxExtended = extended >= CPUID_LEAF.EXTENDED_MAX ? Math.min(extended, MAX_EXTENDED) : 0;
  for (let leaf: number = CPUID_LEAF.EXTENDED_MAX; leaf <= maxExtended; leaf++) add(leaf);

  for (const entry of entries) {
    filter(entry);
    kvm.ops.set_supported_cpuid(entry.function, entry);
  }
  return entries;
}

function addXsaveComponents(kvm: KvmState, add: (leaf: number, subleaf: number) => CpuidEntry): void {
  const supported = supportedXcr0(kvm);
  if (supported === 0n) return;
  add(CPUID_LEAF.XSAVE, 1);
  for (let component = 2; component < 63; component++) {
    if (((supported >> BigInt(component)) & 1n) === 1n) add(CPUID_LEAF.XSAVE, component);
  }
}

/** __do_cpuid_ent: cut one entry. */
function filterLeaf(kvm: KvmState, entry: CpuidEntry, allows: Partial<Record<CpuidFeatureName, boolean>>): void {
  const cut = (register: "eax" | "ebx" | "ecx" | "edx", names: Names, others = 0): void => {
    entry[register] = (entry[register] & (maskOf(names.filter((name) => allows[name] !== false)) | others)) >>> 0;
  };
  const zero = (): void => {
    entry.eax = entry.ebx = entry.ecx = entry.edx = 0;
  };
  switch (entry.function) {
    case CPUID_LEAF.VENDOR:
      entry.eax = Math.min(entry.eax, MAX_BASIC);
      return;
    case CPUID_LEAF.VERSION:
      cut("edx", VERSION_EDX);
      cut("ecx", VERSION_ECX);
      // Emulated, whether the host has it or not.
      setFeature(entry, CPUID.X2APIC, true);
      return;
    case CPUID_LEAF.CACHE_DESCRIPTORS:
    case CPUID_LEAF.CACHE_PARAMETERS:
    case CPUID_LEAF.DIRECT_CACHE_ACCESS:
    case CPUID_LEAF.EXTENDED_TOPOLOGY:
      return;
    case CPUID_LEAF.THERMAL_POWER:
      zero();
      setFeature(entry, CPUID.ARAT, true);
      return;
    case CPUID_LEAF.STRUCTURED_FEATURES:
      cut("ebx", STRUCTURED_EBX);
      setFeature(entry, CPUID.TSC_ADJUST, true);
      cut("ecx", kvm.tdpEnabled ? STRUCTURED_ECX : []);
      entry.eax = entry.edx = 0;
      return;
    case CPUID_LEAF.PERFORMANCE_MONITORING:
      filterPerformanceMonitoring(entry);
      return;
    case CPUID_LEAF.XSAVE:
      filterXsave(kvm, entry, cut);
      return;
    case CPUID_LEAF.HYPERVISOR:
      Object.assign(entry, { eax: CPUID_LEAF.HYPERVISOR_FEATURES }, SIGNATURE);
      return;
    case CPUID_LEAF.HYPERVISOR_FEATURES:
      // No paravirtual service is offered: neither clock nor asynchronous page faults are there yet.
      zero();
      return;
    case CPUID_LEAF.EXTENDED_MAX:
      entry.eax = Math.min(entry.eax, MAX_EXTENDED);
      return;
    case CPUID_LEAF.EXTENDED_FEATURES:
      cut("edx", EXTENDED_EDX, EXTENDED_EDX_REPEATED);
      cut("ecx", EXTENDED_ECX);
      return;
    case CPUID_LEAF.POWER_MANAGEMENT:
      entry.edx &= 1 << CPUID.INVARIANT_TSC.bit;
      entry.eax = entry.ebx = entry.ecx = 0;
      return;
    case CPUID_LEAF.ADDRESS_SIZES:
      entry.eax = ((entry.eax >> 16) & 0xff || entry.eax & 0xff) | (Math.max((entry.eax >> 8) & 0xff, 48) << 8);
      entry.ebx = entry.edx = 0;
      return;
    default:
      // Brand string and cache geometry are for show; everything else is unknown to this list.
      if (entry.function >= CPUID_LEAF.BRAND_STRING_0 && entry.function <= CPUID_LEAF.L2_CACHE) return;
      zero();
  }
}

/** Version 2 at most; the widths and counts are the host's. */
function filterPerformanceMonitoring(entry: CpuidEntry): void {
  const version = Math.min(entry.eax & 0xff, 2);
  entry.ecx = 0;
  if (version === 0) {
    entry.eax = entry.ebx = entry.edx = 0;
    return;
  }
  entry.eax = ((entry.eax & ~0xff) | version) >>> 0;
  entry.edx &= 0x1fff;
}

function filterXsave(
  kvm: KvmState,
  entry: CpuidEntry,
  cut: (register: "eax" | "ebx" | "ecx" | "edx", names: Names) => void,
): void {
  const supported = supportedXcr0(kvm);
  if (entry.index === 0) {
    entry.eax = (entry.eax & Number(supported & 0xffffffffn)) >>> 0;
    entry.edx = (entry.edx & Number(supported >> 32n)) >>> 0;
    entry.ebx = entry.ecx = xstateSize(kvm, supported, false);
  } else {
    if (entry.index === 1) {
      cut("eax", XSAVE_EAX);
      const compacted = (1 << CPUID.XSAVES.bit) | (1 << CPUID.XSAVEC.bit);
      entry.ebx = (entry.eax & compacted) !== 0 ? xstateSize(kvm, supported, true) : 0;
    }
    entry.ecx = entry.edx = 0;
  }
}
