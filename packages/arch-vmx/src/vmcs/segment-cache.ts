import { REG, SREG, type Segment, type Sreg, type VcpuArch } from "@tapvisor/kvm-core/contract";
import { SEGMENT_RIGHTS, SEGMENT_RIGHTS_DPL_SHIFT, VMCS } from "@tapvisor/x86-isa";
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
  if (segment.unusable || !segment.present) return SEGMENT_RIGHTS.UNUSABLE;
  return (
    (segment.type & SEGMENT_RIGHTS.TYPE) |
    (segment.s ? SEGMENT_RIGHTS.S : 0) |
    ((segment.dpl & 3) << SEGMENT_RIGHTS_DPL_SHIFT) |
    SEGMENT_RIGHTS.P |
    (segment.avl ? SEGMENT_RIGHTS.AVL : 0) |
    (segment.l ? SEGMENT_RIGHTS.L : 0) |
    (segment.db ? SEGMENT_RIGHTS.DB : 0) |
    (segment.g ? SEGMENT_RIGHTS.G : 0)
  );
}

/** The inverse of {@link accessRights}. */
export function setAccessRights(segment: Segment, rights: number): void {
  segment.unusable = (rights & SEGMENT_RIGHTS.UNUSABLE) !== 0;
  segment.type = rights & SEGMENT_RIGHTS.TYPE;
  segment.s = (rights & SEGMENT_RIGHTS.S) !== 0;
  segment.dpl = (rights & SEGMENT_RIGHTS.DPL) >> SEGMENT_RIGHTS_DPL_SHIFT;
  // A usable segment has to be present for VM entry, and user space may have lost the unusable bit.
  segment.present = !segment.unusable;
  segment.avl = (rights & SEGMENT_RIGHTS.AVL) !== 0;
  segment.l = (rights & SEGMENT_RIGHTS.L) !== 0;
  segment.db = (rights & SEGMENT_RIGHTS.DB) !== 0;
  segment.g = (rights & SEGMENT_RIGHTS.G) !== 0;
}
