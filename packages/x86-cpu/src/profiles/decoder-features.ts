import { CPUID, type CpuidFeatureName, type DecoderFeature } from "@tapvisor/x86-isa";

/** The decoder's names of what every 64-bit processor has, and CPUID does not show by a bit of its own. */
const BASELINE: ReadonlySet<DecoderFeature> = new Set([
  "INTEL8086",
  "INTEL8086_ONLY",
  "INTEL186",
  "INTEL286",
  "INTEL386",
  "INTEL486",
  "X64",
  "CPUID",
  "RDPMC",
  "MULTIBYTENOP",
  "PAUSE",
  "SMM",
]);

/** Where the decoder's name of a feature is not that of the CPUID bit. */
const RENAMED: Readonly<Partial<Record<DecoderFeature, CpuidFeatureName>>> = {
  D3NOW: "3DNOW",
  D3NOWEXT: "3DNOWEXT",
  FPU287: "FPU",
  FPU387: "FPU",
  HLE_or_RTM: "RTM",
  INVEPT: "VMX",
  INVVPID: "VMX",
  SKINIT_or_SVM: "SVM",
};

/** Whether a processor that shows `features` has what the decoder says an instruction needs. */
export function decoderFeatures(features: readonly CpuidFeatureName[]): (name: DecoderFeature) => boolean {
  const shown: ReadonlySet<string> = new Set(features);
  return (name) => {
    if (BASELINE.has(name)) return true;
    const feature = RENAMED[name] ?? name;
    return feature in CPUID && shown.has(feature);
  };
}
