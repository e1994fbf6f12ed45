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

/** Sixteen registers of two words. */
const GPR_WORDS = 32;

const AT = {
  rax: slot("rax"),
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
  /** The general registers, two words each. */
  readonly gprs: Uint32Array;
  readonly rip: bigint;
  readonly rflags: bigint;
  /** The segments that were loaded so far. */
  readonly segments: Map<SegmentName, SegmentState>;
  /** Present when everything was loaded. */
  tables?: { readonly gdt: DescriptorTable; readonly idt: DescriptorTable };
}

/**
 * Fill the evaluator's state with what every instruction needs: general registers, RIP, flags, and what the mode and the
 * privilege level are told by. {@link loadSegment} and {@link loadRest} add what else an instruction asks for.
 */
export function loadState(vcpu: KvmVcpu, s: CpuState): Snapshot {
  const { arch } = vcpu;
  if ((arch.regsAvail & (1 << REG.RSP)) === 0) vcpu.kvm.ops.cache_reg(vcpu, REG.RSP);
  const gprs = arch.regs.u32.slice(0, GPR_WORDS);
  s.words.set(gprs, AT.rax >> 2);
  const rip = registerRead(vcpu, REG.RIP);
  s.set64(AT.rip, rip);
  const rflags = getRflags(vcpu);
  s.rflags = rflags;
  s.set64(AT.cr0, readCr0(vcpu));
  s.set64(AT.efer, vcpu.arch.efer);
  s.set32(AT.interruptibility, 0);
  const before: Snapshot = { gprs, rip, rflags, segments: new Map() };
  loadSegment(vcpu, s, before, "cs");
  loadSegment(vcpu, s, before, "ss");
  return before;
}

/** Load one segment register more. */
export function loadSegment(vcpu: KvmVcpu, s: CpuState, before: Snapshot, name: SegmentName): void {
  if (before.segments.has(name)) return;
  const segment = getSegment(vcpu, SREG_OF[name]);
  const state = { selector: segment.selector, base: segment.base, limit: segment.limit, rights: rightsOf(segment) };
  s.setSegment(name, state);
  before.segments.set(name, state);
}

/** Load all that there is: system instructions, and code outside 64-bit mode. */
export function loadRest(vcpu: KvmVcpu, s: CpuState, before: Snapshot): void {
  const { ops } = vcpu.kvm;
  for (const name of SEGMENT_NAMES) loadSegment(vcpu, s, before, name);
  const gdt: DescriptorTable = { size: 0, address: 0n };
  const idt: DescriptorTable = { size: 0, address: 0n };
  ops.get_gdt(vcpu, gdt);
  ops.get_idt(vcpu, idt);
  s.set64(AT.gdtrBase, gdt.address);
  s.set32(AT.gdtrLimit, gdt.size);
  s.set64(AT.idtrBase, idt.address);
  s.set32(AT.idtrLimit, idt.size);
  s.set64(AT.cr2, vcpu.arch.cr2);
  s.set64(AT.xcr0, vcpu.arch.xcr0);
  loadControlState(vcpu, s);
  before.tables = { gdt, idt };
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
  for (let i = 0; i < GPR_WORDS; i += 2) {
    const at = (AT.rax >> 2) + i;
    if (s.words[at] !== before.gprs[i] || s.words[at + 1] !== before.gprs[i + 1])
      registerWrite(vcpu, i >> 1, s.gpr(i >> 1));
  }
  for (const [name, old] of before.segments) {
    const state = s.segment(name);
    const same =
      state.selector === old.selector &&
      state.base === old.base &&
      state.limit === old.limit &&
      state.rights === old.rights;
    if (!same) setSegment(vcpu, segmentOf(state), SREG_OF[name]);
  }
  if (before.tables) storeTables(vcpu, s, before.tables);
  ripWrite(vcpu, s.get64(AT.rip));
  const { rflags } = s;
  if (rflags !== before.rflags) setRflags(vcpu, rflags);
}

function storeTables(vcpu: KvmVcpu, s: CpuState, before: { gdt: DescriptorTable; idt: DescriptorTable }): void {
  const { ops } = vcpu.kvm;
  const gdt = { address: s.get64(AT.gdtrBase), size: s.get32(AT.gdtrLimit) };
  if (gdt.address !== before.gdt.address || gdt.size !== before.gdt.size) ops.set_gdt(vcpu, gdt);
  const idt = { address: s.get64(AT.idtrBase), size: s.get32(AT.idtrLimit) };
  if (idt.address !== before.idt.address || idt.size !== before.idt.size) ops.set_idt(vcpu, idt);
}

export const INTERRUPTIBILITY_AT = AT.interruptibility;
