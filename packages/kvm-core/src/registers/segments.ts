import type { Segment, Sreg } from "../contract/index.js";
import { SREG } from "../contract/index.js";
import type { VcpuState } from "../state/vcpu-state.js";
import { ripWrite } from "./cache.js";

export function emptySegment(): Segment {
  return {
    base: 0n,
    limit: 0,
    selector: 0,
    type: 0,
    present: false,
    dpl: 0,
    db: false,
    s: false,
    l: false,
    g: false,
    avl: false,
    unusable: true,
  };
}

export function getSegment(vcpu: VcpuState, seg: Sreg): Segment {
  const segment = emptySegment();
  vcpu.kvm.ops.get_segment(vcpu, segment, seg);
  return segment;
}

export function setSegment(vcpu: VcpuState, segment: Segment, seg: Sreg): void {
  vcpu.kvm.ops.set_segment(vcpu, segment, seg);
}

/** kvm_vcpu_deliver_sipi_vector: real mode, at the page that the vector names. */
export function deliverSipiVector(vcpu: VcpuState, vector: number): void {
  const cs = getSegment(vcpu, SREG.CS);
  cs.selector = vector << 8;
  cs.base = BigInt(vector << 12);
  setSegment(vcpu, cs, SREG.CS);
  ripWrite(vcpu, 0n);
}
