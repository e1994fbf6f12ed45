import { CPUID, CPUID_LEAF, CR4, EFER, FX_IMAGE_BYTES, XCR0, type CpuidFeatureName } from "@tapvisor/x86-isa";
import { TSC_KHZ } from "../time/clock.js";
import type { ProcessorProfile } from "./profile.js";

export interface CpuidResult {
  eax: number;
  ebx: number;
  ecx: number;
  edx: number;
}

const VENDOR_STRING = { intel: "GenuineIntel", amd: "AuthenticAMD" } as const;

/** CLFLUSH line of 64 bytes, in units of 8 bytes. */
const CLFLUSH_LINE = 8 << 8;

/** Bits of EDX of leaf 1 that leaf 80000001H repeats (AMD APM vol. 3, "CPUID Fn8000_0001_EDX"). */
const REPEATED_BY_AMD = 0x0183f3ff;

const word = (text: string, at: number): number =>
  [0, 1, 2, 3].reduce((value, i) => value | ((text.charCodeAt(at + i) || 0) << (8 * i)), 0) >>> 0;

/** Bits of CR4 that exist where CPUID shows a feature. */
const CR4_FEATURES: readonly (readonly [bigint, CpuidFeatureName])[] = [
  [CR4.VME | CR4.PVI, "VME"],
  [CR4.TSD, "TSC"],
  [CR4.DE, "DE"],
  [CR4.PSE, "PSE"],
  [CR4.PAE, "PAE"],
  [CR4.MCE, "MCE"],
  [CR4.PGE, "PGE"],
  [CR4.OSFXSR, "FXSR"],
  [CR4.OSXMMEXCPT, "SSE"],
  [CR4.UMIP, "UMIP"],
  [CR4.LA57, "LA57"],
  [CR4.VMXE, "VMX"],
  [CR4.FSGSBASE, "FSGSBASE"],
  [CR4.PCIDE, "PCID"],
  [CR4.OSXSAVE, "XSAVE"],
  [CR4.SMEP, "SMEP"],
  [CR4.SMAP, "SMAP"],
  [CR4.PKE, "PKU"],
];

const EFER_FEATURES: readonly (readonly [bigint, CpuidFeatureName])[] = [
  [EFER.SCE, "SYSCALL"],
  [EFER.LME | EFER.LMA, "LM"],
  [EFER.NXE, "NX"],
  [EFER.SVME, "SVM"],
];

/** The legacy region, which has the x87 and SSE components, and the header (SDM vol. 1, "XSAVE Area"). */
const XSAVE_AREA_BYTES = FX_IMAGE_BYTES + 64;

/** What CPUID answers on a processor, and what follows from it. */
export class CpuidLeaves {
  readonly #features: ReadonlySet<CpuidFeatureName>;
  /** By leaf, then subleaf. */
  readonly #rows = new Map<number, Map<number, CpuidResult>>();
  readonly #maxBasic: number;
  readonly #maxExtended: number;
  /** Bits of CR4, IA32_EFER and XCR0 that may be set. */
  readonly cr4Supported: bigint;
  readonly eferSupported: bigint;
  readonly xcr0Supported: bigint;

  /**
   * @param apicId initial APIC ID of the processor
   * @param processors how many logical processors there are
   */
  constructor(
    profile: ProcessorProfile,
    private readonly apicId: number,
    processors: number,
  ) {
    this.#features = new Set(profile.features);
    const vendor = VENDOR_STRING[profile.vendor];
    this.#row(CPUID_LEAF.VENDOR, 0, { ebx: word(vendor, 0), edx: word(vendor, 4), ecx: word(vendor, 8) });
    const family = profile.family > 0xf ? (0xf << 8) | ((profile.family - 0xf) << 20) : profile.family << 8;
    this.#row(CPUID_LEAF.VERSION, 0, {
      eax: family | ((profile.model & 0xf) << 4) | ((profile.model >> 4) << 16) | profile.stepping,
      ebx: (apicId << 24) | ((processors > 1 ? processors : 1) << 16) | CLFLUSH_LINE,
      edx: processors > 1 ? 1 << CPUID.HTT.bit : 0,
    });
    if (profile.vendor === "intel") {
      // "The descriptors are in leaf 4", and one call is enough.
      this.#row(CPUID_LEAF.CACHE_DESCRIPTORS, 0, { eax: 1, ebx: 0xff });
      const shift = Math.ceil(Math.log2(processors));
      this.#row(CPUID_LEAF.EXTENDED_TOPOLOGY, 0, { eax: 0, ebx: 1, ecx: 0x100, edx: apicId });
      this.#row(CPUID_LEAF.EXTENDED_TOPOLOGY, 1, { eax: shift, ebx: processors, ecx: 0x201, edx: apicId });
      // A crystal of 1 MHz.
      this.#row(CPUID_LEAF.TSC_FREQUENCY, 0, { eax: 1, ebx: TSC_KHZ / 1000, ecx: 1_000_000 });
      this.#row(CPUID_LEAF.PROCESSOR_FREQUENCY, 0, { eax: TSC_KHZ / 1000, ebx: TSC_KHZ / 1000, ecx: 1 });
    }
    if (profile.vendor === "amd") {
      this.#row(CPUID_LEAF.EXTENDED_MAX, 0, { ebx: word(vendor, 0), edx: word(vendor, 4), ecx: word(vendor, 8) });
    }
    this.#row(CPUID_LEAF.EXTENDED_FEATURES, 0, {});
    for (let part = 0; part < 3; part++) {
      const at = part * 16;
      const text = profile.brand;
      this.#row(CPUID_LEAF.BRAND_STRING_0 + part, 0, {
        eax: word(text, at),
        ebx: word(text, at + 4),
        ecx: word(text, at + 8),
        edx: word(text, at + 12),
      });
    }
    this.#row(CPUID_LEAF.ADDRESS_SIZES, 0, {
      eax: profile.physicalAddressBits | (profile.linearAddressBits << 8),
      ecx: profile.vendor === "amd" ? processors - 1 : 0,
    });
    this.xcr0Supported = this.has("XSAVE") && this.has("SSE") ? XCR0.X87 | XCR0.SSE : XCR0.X87;
    if (this.has("XSAVE")) {
      // No component lies past the header, whatever XCR0 enables.
      this.#row(CPUID_LEAF.XSAVE, 0, {
        eax: Number(this.xcr0Supported),
        ebx: XSAVE_AREA_BYTES,
        ecx: XSAVE_AREA_BYTES,
      });
      if (this.has("XSAVEC")) this.#row(CPUID_LEAF.XSAVE, 1, { ebx: XSAVE_AREA_BYTES });
    }
    for (const { leaf, subleaf = 0, ...registers } of profile.cpuid) this.#row(leaf, subleaf, registers);
    for (const name of this.#features) {
      const { leaf, subleaf, register, bit } = CPUID[name];
      this.#row(leaf, subleaf, { [register]: (1 << bit) >>> 0 });
    }
    if (profile.vendor === "amd") {
      const edx = (this.#rows.get(CPUID_LEAF.VERSION)?.get(0)?.edx ?? 0) & REPEATED_BY_AMD;
      this.#row(CPUID_LEAF.EXTENDED_FEATURES, 0, { edx });
    }
    const leaves = [...this.#rows.keys()];
    this.#maxBasic = Math.max(...leaves.filter((leaf) => leaf < CPUID_LEAF.HYPERVISOR));
    this.#maxExtended = Math.max(...leaves.filter((leaf) => leaf >= CPUID_LEAF.EXTENDED_MAX));
    this.#row(CPUID_LEAF.VENDOR, 0, { eax: this.#maxBasic });
    this.#row(CPUID_LEAF.EXTENDED_MAX, 0, { eax: this.#maxExtended });

    const supported = (table: readonly (readonly [bigint, CpuidFeatureName])[]): bigint =>
      table.reduce((bits, [bit, feature]) => (this.has(feature) ? bits | bit : bits), 0n);
    // CR4.PCE needs no feature: RDPMC without counters is #GP all the same.
    this.cr4Supported = supported(CR4_FEATURES) | CR4.PCE;
    this.eferSupported = supported(EFER_FEATURES);
  }

  /** Whether CPUID shows the feature. */
  has(feature: CpuidFeatureName): boolean {
    return this.#features.has(feature);
  }

  /**
   * CPUID (SDM vol. 2, "CPUID - CPU Identification").
   *
   * @param cr4 of the processor: OSXSAVE and OSPKE mirror it
   */
  read(leaf: number, subleaf: number, cr4: bigint): CpuidResult {
    let wanted = leaf >>> 0;
    const extended = wanted >= CPUID_LEAF.EXTENDED_MAX;
    // A leaf past the highest basic one answers as the highest basic one does on Intel's processors.
    if (extended ? wanted > this.#maxExtended : wanted > this.#maxBasic) wanted = this.#maxBasic;
    const subleaves = this.#rows.get(wanted);
    const result = { ...(subleaves?.get(subleaf >>> 0) ?? this.#sameForAll(wanted) ?? ZERO) };
    if (wanted === CPUID_LEAF.VERSION && (cr4 & CR4.OSXSAVE) !== 0n) result.ecx |= 1 << CPUID.OSXSAVE.bit;
    if (wanted === CPUID_LEAF.STRUCTURED_FEATURES && (cr4 & CR4.PKE) !== 0n) result.ecx |= 1 << CPUID.OSPKE.bit;
    if (wanted === CPUID_LEAF.EXTENDED_TOPOLOGY && subleaves?.get(subleaf >>> 0) === undefined) {
      // An invalid level echoes its number and the x2APIC ID.
      result.ecx = subleaf & 0xff;
      result.edx = this.apicId;
    }
    result.ecx >>>= 0;
    return result;
  }

  /** The registers of a leaf that ignores the subleaf. */
  #sameForAll(leaf: number): CpuidResult | undefined {
    return LEAVES_WITH_SUBLEAVES.has(leaf) ? undefined : this.#rows.get(leaf)?.get(0);
  }

  #row(leaf: number, subleaf: number, registers: Partial<CpuidResult>): void {
    let subleaves = this.#rows.get(leaf);
    if (subleaves === undefined) this.#rows.set(leaf, (subleaves = new Map<number, CpuidResult>()));
    const row = subleaves.get(subleaf) ?? { ...ZERO };
    for (const register of ["eax", "ebx", "ecx", "edx"] as const) {
      row[register] = (row[register] | (registers[register] ?? 0)) >>> 0;
    }
    subleaves.set(subleaf, row);
  }
}

const ZERO: Readonly<CpuidResult> = { eax: 0, ebx: 0, ecx: 0, edx: 0 };

/** Leaves that ECX selects a part of. */
const LEAVES_WITH_SUBLEAVES: ReadonlySet<number> = new Set([
  CPUID_LEAF.CACHE_PARAMETERS,
  CPUID_LEAF.STRUCTURED_FEATURES,
  CPUID_LEAF.EXTENDED_TOPOLOGY,
  CPUID_LEAF.XSAVE,
]);
