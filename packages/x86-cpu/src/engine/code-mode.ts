import {
  CR0,
  CR4,
  EFER,
  RFLAGS,
  SEGMENT_RIGHTS,
  slot,
  stackAddressBytes,
  type Bitness,
  type CodeMode,
  type CpuState,
  type SegmentName,
  type DecoderFeature,
} from "@tapvisor/x86-isa";

const SLOT_CR0 = slot("cr0");
const SLOT_CR4 = slot("cr4");
const SLOT_EFER = slot("efer");
const SLOT_FLAGS_REST = slot("flagsRest");
const SLOT_CS_RIGHTS = slot("cs.rights");

/** Data segments that an offset may be taken through without a check where they are flat. */
const FLAT_SEGMENTS: readonly SegmentName[] = ["cs", "ds", "es", "ss"];

/** Code size of CS: 64 by CS.L in IA-32e mode, otherwise by CS.D. */
export function bitnessOf(state: CpuState): Bitness {
  const rights = state.get32(SLOT_CS_RIGHTS);
  if ((state.get32(SLOT_EFER) & Number(EFER.LMA)) !== 0 && (rights & SEGMENT_RIGHTS.L) !== 0) return 64;
  return (rights & SEGMENT_RIGHTS.DB) !== 0 ? 32 : 16;
}

function isFlat(state: CpuState, name: SegmentName): boolean {
  const base = slot(`${name}.base`);
  const rights = state.get32(base + 12);
  if (state.get32(base) !== 0 || state.get32(base + 8) !== 0xffff_ffff) return false;
  if ((rights & SEGMENT_RIGHTS.UNUSABLE) !== 0 || (rights & SEGMENT_RIGHTS.P) === 0) return false;
  const code = (rights & 8) !== 0;
  // Code must be readable; data writable and not expand-down. CS is read alone.
  return code ? name === "cs" && (rights & 2) !== 0 : (rights & 6) === 2;
}

/** Bits of CR0 and CR4 that lifting depends on. */
export const CODE_MODE_CR0 = Number(CR0.PE | CR0.MP | CR0.EM | CR0.TS);
export const CODE_MODE_CR4 = Number(CR4.OSFXSR);

/** What lifting depends on, from the state. `feature` says what CPUID shows. */
export function codeMode(state: CpuState, feature: (name: DecoderFeature) => boolean): CodeMode {
  const bitness = bitnessOf(state);
  const cr0 = state.get32(SLOT_CR0);
  const has = (bit: bigint): boolean => (cr0 & Number(bit)) !== 0;
  return {
    bitness,
    stackBytes: bitness === 64 ? 8 : stackAddressBytes(state),
    flat: bitness === 64 || FLAT_SEGMENTS.every((name) => isFlat(state, name)),
    virtual8086: (state.get32(SLOT_FLAGS_REST) & Number(RFLAGS.VM)) !== 0,
    protectedMode: has(CR0.PE),
    extensions: {
      em: has(CR0.EM),
      mp: has(CR0.MP),
      ts: has(CR0.TS),
      osfxsr: (state.get32(SLOT_CR4) & CODE_MODE_CR4) !== 0,
    },
    feature,
  };
}

/** A name that tells code modes apart. */
export function codeModeName(mode: CodeMode): string {
  const { bitness, stackBytes, flat, virtual8086, protectedMode, extensions } = mode;
  return [bitness, stackBytes, flat, virtual8086, protectedMode, ...Object.values(extensions ?? {})].join();
}
