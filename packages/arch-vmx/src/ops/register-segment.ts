import { SREG, type CsBits, type Segment, type Sreg, type Vcpu } from "@tapvisor/kvm-core/contract";
import { SEGMENT_RIGHTS, SEGMENT_RIGHTS_DPL_SHIFT, SEGMENT_TYPE } from "@tapvisor/x86-isa";
import { nullSegment, toVmx } from "../vcpu-vmx.js";
import { emulationRequired } from "../vmcs/guest-state.js";
import { fixRmodeSegment } from "../vmcs/real-mode.js";
import { accessRights, segmentFields, setAccessRights } from "../vmcs/segment-cache.js";

export function vmxGetSegmentBase(vcpu: Vcpu, seg: Sreg): bigint {
  const vmx = toVmx(vcpu);
  if (vmx.realMode.vm86Active) {
    const segment = nullSegment();
    vmx.ops.get_segment(vcpu, segment, seg);
    return segment.base;
  }
  return vmx.segmentCache.base(vmx.vmcs, vcpu.arch, seg);
}

export function vmxGetSegment(vcpu: Vcpu, segment: Segment, seg: Sreg): void {
  const { segmentCache, realMode, vmcs } = toVmx(vcpu);
  const { arch } = vcpu;
  if (realMode.vm86Active && seg !== SREG.LDTR) {
    Object.assign(segment, realMode.segments[seg]);
    // A load in virtual-8086 mode changes selector and base alone.
    if (seg === SREG.TR || segment.selector === segmentCache.selector(vmcs, arch, seg)) return;
    segment.base = segmentCache.base(vmcs, arch, seg);
    segment.selector = segmentCache.selector(vmcs, arch, seg);
    return;
  }
  segment.base = segmentCache.base(vmcs, arch, seg);
  segment.limit = segmentCache.limit(vmcs, arch, seg);
  segment.selector = segmentCache.selector(vmcs, arch, seg);
  setAccessRights(segment, segmentCache.rights(vmcs, arch, seg));
}

export function vmxSetSegment(vcpu: Vcpu, segment: Segment, seg: Sreg): void {
  const vmx = toVmx(vcpu);
  const { vmcs, realMode } = vmx;
  const fields = segmentFields(seg);
  vmx.segmentCache.clear();
  if (realMode.vm86Active && seg !== SREG.LDTR) {
    const saved = (realMode.segments[seg] = { ...segment });
    if (seg === SREG.TR) vmcs.write32(fields.selector, segment.selector);
    else if (segment.s) fixRmodeSegment(vmx, seg, saved);
  } else {
    vmcs.write(fields.base, segment.base);
    vmcs.write32(fields.limit, segment.limit);
    vmcs.write32(fields.selector, segment.selector);
    let rights = accessRights(segment);
    // User space may give the state after reset without the accessed bit, with which VM entry refuses it.
    if (vmx.intel.features.unrestrictedGuest && seg !== SREG.LDTR && (rights & SEGMENT_RIGHTS.UNUSABLE) === 0)
      rights |= SEGMENT_TYPE.ACCESSED;
    vmcs.write32(fields.rights, rights);
  }
  vmx.emulationRequired = emulationRequired(vcpu);
}

/** DPL of SS (SDM vol. 3, "Guest Register State"). */
export function vmxGetCpl(vcpu: Vcpu): number {
  const vmx = toVmx(vcpu);
  if (vmx.realMode.vm86Active) return 0;
  const rights = vmx.segmentCache.rights(vmx.vmcs, vcpu.arch, SREG.SS);
  return (rights & SEGMENT_RIGHTS.DPL) >> SEGMENT_RIGHTS_DPL_SHIFT;
}

export function vmxGetCsDbLBits(vcpu: Vcpu, bits: CsBits): void {
  const vmx = toVmx(vcpu);
  const rights = vmx.segmentCache.rights(vmx.vmcs, vcpu.arch, SREG.CS);
  bits.db = (rights & SEGMENT_RIGHTS.DB) !== 0;
  bits.l = (rights & SEGMENT_RIGHTS.L) !== 0;
}
