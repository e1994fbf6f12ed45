import { REG, SREG, type Segment, type Sreg, type VcpuArch } from "@tapvisor/kvm-core/contract";
import { SEGMENT_RIGHTS, VMCS, packSegmentRights, unpackSegmentRights } from "@tapvisor/x86-isa";
import type { CurrentVmcs } from "./vmcs.js";

/** Encodings of the four fields of each segment register, by SREG. */
export const SEGMENT_FIELDS = ((): readonly SegmentFields[] => {
  const fields = (name: keyof typeof SREG): SegmentFields => ({
    selector: VMCS[`GUEST_${name}_SELECTOR`],
    base: VMCS[`GUEST_${name}_BASE`],
    limit: VMCS[`GUEST_${name}_LIMIT`],
    rights: VMCS[`GUEST_${name}_AR_BYTES`],
  });
  return (Object.keys(SREG) as (keyof typeof SREG)[]).sort((a, b) => SREG[a] - SREG[b]).map(fields);
})();

export interface SegmentFields {
  readonly selector: number;
  readonly base: number;
  readonly limit: number;
  readonly rights: number;
}

export function segmentFields(seg: Sreg): SegmentFields {
  const fields = SEGMENT_FIELDS[seg];
  if (fields === undefined) throw new RangeError(`no segment register ${String(seg)}`);
  return fields;
}

const SELECTOR = 1;
const BASE = 2;
const LIMIT = 4;
const RIGHTS = 8;
const SEGMENTS_BIT = 1 << REG.SEGMENTS;

/** Segment registers of the guest, read from the VMCS field by field when they are asked for; void after an exit. */
export class SegmentCache {
  /** Four bits a segment: which fields are valid. */
  #valid = 0;
  readonly #selectors = new Uint16Array(8);
  readonly #bases = new BigUint64Array(8);
  readonly #limits = new Uint32Array(8);
  readonly #rights = new Uint32Array(8);

  clear(): void {
    this.#valid = 0;
  }

  selector(vmcs: CurrentVmcs, arch: VcpuArch, seg: Sreg): number {
    if (this.#miss(arch, seg, SELECTOR)) this.#selectors[seg] = vmcs.read32(segmentFields(seg).selector);
    return this.#selectors[seg] ?? 0;
  }

  base(vmcs: CurrentVmcs, arch: VcpuArch, seg: Sreg): bigint {
    if (this.#miss(arch, seg, BASE)) this.#bases[seg] = vmcs.read(segmentFields(seg).base);
    return this.#bases[seg] ?? 0n;
  }

  limit(vmcs: CurrentVmcs, arch: VcpuArch, seg: Sreg): number {
    if (this.#miss(arch, seg, LIMIT)) this.#limits[seg] = vmcs.read32(segmentFields(seg).limit);
    return this.#limits[seg] ?? 0;
  }

  rights(vmcs: CurrentVmcs, arch: VcpuArch, seg: Sreg): number {
    if (this.#miss(arch, seg, RIGHTS)) this.#rights[seg] = vmcs.read32(segmentFields(seg).rights);
    return this.#rights[seg] ?? 0;
  }

  /** True when the field has to be read; it counts as valid from then on. */
  #miss(arch: VcpuArch, seg: Sreg, field: number): boolean {
    if ((arch.regsAvail & SEGMENTS_BIT) === 0) {
      arch.regsAvail |= SEGMENTS_BIT;
      this.#valid = 0;
    }
    const bit = field << (seg * 4);
    const miss = (this.#valid & bit) === 0;
    this.#valid |= bit;
    return miss;
  }
}

/** Access rights in the format of the VMCS. A segment that is not present is unusable. */
export function accessRights(segment: Readonly<Segment>): number {
  return segment.unusable || !segment.present ? SEGMENT_RIGHTS.UNUSABLE : packSegmentRights(segment);
}

/** The inverse of {@link accessRights}. */
export function setAccessRights(segment: Segment, rights: number): void {
  unpackSegmentRights(rights, segment);
  // A usable segment has to be present for VM entry, and user space may have lost the unusable bit.
  segment.present = !segment.unusable;
}
