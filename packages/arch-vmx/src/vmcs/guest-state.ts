import { SREG, type Segment, type Sreg, type Vcpu } from "@tapvisor/kvm-core/contract";
import { RFLAGS, SEGMENT_RIGHTS, SEGMENT_TYPE, SELECTOR, SYSTEM_DESCRIPTOR } from "@tapvisor/x86-isa";
import { nullSegment, toVmx } from "../vcpu-vmx.js";
import { accessRights } from "./segment-cache.js";

/**
 * Would the processor enter the guest as it stands (SDM vol. 3, "Checks on Guest Segment Registers")? If not, the guest
 * is emulated until it would. An unrestricted guest always passes.
 */
export function emulationRequired(vcpu: Vcpu): boolean {
  const { intel, kvm, ops } = toVmx(vcpu);
  if (intel.features.unrestrictedGuest) return false;
  const get = (seg: Sreg): Segment => {
    const segment = nullSegment();
    ops.get_segment(vcpu, segment, seg);
    return segment;
  };
  if (!kvm.isProtectedMode(vcpu) || (ops.get_rflags(vcpu) & RFLAGS.VM) !== 0n)
    return ![SREG.CS, SREG.SS, SREG.DS, SREG.ES, SREG.FS, SREG.GS].every((seg) => realModeValid(get(seg), seg));
  const cs = get(SREG.CS);
  const ss = get(SREG.SS);
  return !(
    (cs.selector & SELECTOR.RPL) === (ss.selector & SELECTOR.RPL) &&
    codeValid(cs) &&
    stackValid(ss) &&
    [SREG.DS, SREG.ES, SREG.FS, SREG.GS].every((seg) => dataValid(get(seg))) &&
    tssValid(get(SREG.TR)) &&
    ldtValid(get(SREG.LDTR))
  );
}

/** Data segment of virtual-8086 mode: present, DPL 3, writable, accessed. */
const VM86_RIGHTS =
  SEGMENT_RIGHTS.P | SEGMENT_RIGHTS.DPL | SEGMENT_RIGHTS.S | SEGMENT_TYPE.WRITABLE | SEGMENT_TYPE.ACCESSED;

function realModeValid(segment: Segment, seg: Sreg): boolean {
  const type = seg === SREG.CS ? SEGMENT_TYPE.WRITABLE | SEGMENT_TYPE.ACCESSED : segment.type;
  return (
    segment.base === BigInt(segment.selector << 4) &&
    segment.limit === 0xffff &&
    accessRights({ ...segment, dpl: 3, type }) === VM86_RIGHTS
  );
}

function codeValid(cs: Segment): boolean {
  const rpl = cs.selector & SELECTOR.RPL;
  const needed = SEGMENT_TYPE.CODE | SEGMENT_TYPE.ACCESSED;
  if (cs.unusable || !cs.s || !cs.present || (cs.type & needed) !== needed) return false;
  return (cs.type & SEGMENT_TYPE.CONFORMING) !== 0 ? cs.dpl <= rpl : cs.dpl === rpl;
}

function stackValid(ss: Segment): boolean {
  if (ss.unusable) return true;
  const type = ss.type & ~SEGMENT_TYPE.EXPAND_DOWN;
  const writable = type === (SEGMENT_TYPE.WRITABLE | SEGMENT_TYPE.ACCESSED);
  return writable && ss.s && ss.present && ss.dpl === (ss.selector & SELECTOR.RPL);
}

function dataValid(segment: Segment): boolean {
  if (segment.unusable) return true;
  if (!segment.s || !segment.present) return false;
  const conformingCode = SEGMENT_TYPE.CODE | SEGMENT_TYPE.CONFORMING;
  if ((segment.type & conformingCode) === conformingCode) return true;
  return segment.dpl >= (segment.selector & SELECTOR.RPL);
}

function tssValid(tr: Segment): boolean {
  if (tr.unusable || !tr.present || (tr.selector & SELECTOR.TI) !== 0) return false;
  return tr.type === SYSTEM_DESCRIPTOR.TSS16_BUSY || tr.type === SYSTEM_DESCRIPTOR.TSS_BUSY;
}

function ldtValid(ldtr: Segment): boolean {
  if (ldtr.unusable) return true;
  return ldtr.present && (ldtr.selector & SELECTOR.TI) === 0 && ldtr.type === SYSTEM_DESCRIPTOR.LDT;
}
