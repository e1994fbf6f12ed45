import {
  type CpuState,
  SEGMENT_NAMES,
  SEGMENT_RIGHTS,
  type SegmentName,
  type SegmentState,
  slot,
} from "@tapvisor/x86-isa";
import { type DescriptorTable, REG, type Segment, SREG, type Sreg } from "../contract/index.js";
import { registerRead, registerWrite, ripWrite } from "../registers/cache.js";
import { getCr8, readCr0, readCr3, readCr4 } from "../registers/control.js";
import { getRflags, setRflags } from "../registers/flags.js";
import { getSegment, setSegment } from "../registers/segments.js";
import type { KvmVcpu } from "../vcpu.js";

const SREG_OF: Readonly<Record<SegmentName, Sreg>> = {
  es: SREG.ES, cs: SREG.CS, ss: SREG.SS, ds: SREG.DS, fs: SREG.FS, gs: SREG.GS, ldtr: SREG.LDTR, tr: SREG.TR,
}; // prettier-ignore

const AT = {
  rip: slot("rip"), cr0: slot("cr0"), cr2: slot("cr2"), cr3: slot("cr3"), cr4: slot("cr4"), cr8: slot("cr8"),
  efer: slot("efer"), xcr0: slot("xcr0"), interruptibility: slot("interruptibility"),
  gdtrBase: slot("gdtr.base"), gdtrLimit: slot("gdtr.limit"), idtrBase: slot("idtr.base"), idtrLimit: slot("idtr.limit"),
} as const; // prettier-ignore

function rightsOf(segment: Segment): number {
  let rights = (segment.type & 0xf) | (segment.dpl << 5);
  if (segment.s) rights |= SEGMENT_RIGHTS.S;
  if (segment.present) rights |= SEGMENT_RIGHTS.P;
  if (segment.avl) rights |= SEGMENT_RIGHTS.AVL;
  if (segment.l) rights |= SEGMENT_RIGHTS.L;
  if (segment.db) rights |= SEGMENT_RIGHTS.DB;
  if (segment.g) rights |= SEGMENT_RIGHTS.G;
  if (segment.unusable) rights |= SEGMENT_RIGHTS.UNUSABLE;
  return rights;
}

function segmentOf({ selector, base, limit, rights }: SegmentState): Segment {
  return {
    selector,
    base,
    limit,
    type: rights & 0xf,
    s: (rights & SEGMENT_RIGHTS.S) !== 0,
    dpl: (rights >> 5) & 3,
    present: (rights & SEGMENT_RIGHTS.P) !== 0,
    avl: (rights & SEGMENT_RIGHTS.AVL) !== 0,
    l: (rights & SEGMENT_RIGHTS.L) !== 0,
    db: (rights & SEGMENT_RIGHTS.DB) !== 0,
    g: (rights & SEGMENT_RIGHTS.G) !== 0,
    unusable: (rights & SEGMENT_RIGHTS.UNUSABLE) !== 0,
  };
}

/** What the state was when the instruction began, to write back no more than what changed. */
export interface Snapshot {
  readonly gprs: readonly bigint[];
  readonly rflags: bigint;
  readonly segments: readonly SegmentState[];
  readonly gdt: DescriptorTable;
  readonly idt: DescriptorTable;
}

/** Fill the evaluator's state from the vCPU. */
export function loadState(vcpu: KvmVcpu, s: CpuState): Snapshot {
  const { arch } = vcpu;
  const { ops } = vcpu.kvm;
  const gprs = Array.from({ length: 16 }, (_, i) => registerRead(vcpu, i));
  gprs.forEach((value, i) => s.setGpr(i, value));
  s.set64(AT.rip, registerRead(vcpu, REG.RIP));
  const rflags = getRflags(vcpu);
  s.rflags = rflags;
  const segments = SEGMENT_NAMES.map((name) => {
    const segment = getSegment(vcpu, SREG_OF[name]);
    const state = { selector: segment.selector, base: segment.base, limit: segment.limit, rights: rightsOf(segment) };
    s.setSegment(name, state);
    return state;
  });
  const gdt: DescriptorTable = { size: 0, address: 0n };
  const idt: DescriptorTable = { size: 0, address: 0n };
  ops.get_gdt(vcpu, gdt);
  ops.get_idt(vcpu, idt);
  s.set64(AT.gdtrBase, gdt.address);
  s.set32(AT.gdtrLimit, gdt.size);
  s.set64(AT.idtrBase, idt.address);
  s.set32(AT.idtrLimit, idt.size);
  s.set64(AT.cr2, arch.cr2);
  s.set64(AT.xcr0, arch.xcr0);
  s.set32(AT.interruptibility, 0);
  loadControlState(vcpu, s);
  return { gprs, rflags, segments, gdt, idt };
}

/** The control registers, which an instruction changes through the core itself. */
export function loadControlState(vcpu: KvmVcpu, s: CpuState): void {
  s.set64(AT.cr0, readCr0(vcpu));
  s.set64(AT.cr3, readCr3(vcpu));
  s.set64(AT.cr4, readCr4(vcpu));
  s.set64(AT.cr8, getCr8(vcpu));
  s.set64(AT.efer, vcpu.arch.efer);
}

/** Write back what the instruction changed. */
export function storeState(vcpu: KvmVcpu, s: CpuState, before: Snapshot): void {
  const { ops } = vcpu.kvm;
  before.gprs.forEach((old, i) => {
    const value = s.gpr(i);
    if (value !== old) registerWrite(vcpu, i, value);
  });
  SEGMENT_NAMES.forEach((name, i) => {
    const state = s.segment(name);
    const old = before.segments[i];
    const same =
      state.selector === old.selector &&
      state.base === old.base &&
      state.limit === old.limit &&
      state.rights === old.rights;
    if (!same) setSegment(vcpu, segmentOf(state), SREG_OF[name]);
  });
  const gdt = { address: s.get64(AT.gdtrBase), size: s.get32(AT.gdtrLimit) };
  if (gdt.address !== before.gdt.address || gdt.size !== before.gdt.size) ops.set_gdt(vcpu, gdt);
  const idt = { address: s.get64(AT.idtrBase), size: s.get32(AT.idtrLimit) };
  if (idt.address !== before.idt.address || idt.size !== before.idt.size) ops.set_idt(vcpu, idt);
  ripWrite(vcpu, s.get64(AT.rip));
  const { rflags } = s;
  if (rflags !== before.rflags) setRflags(vcpu, rflags);
}

export const INTERRUPTIBILITY_AT = AT.interruptibility;
