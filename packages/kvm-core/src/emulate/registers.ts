import {
  type CpuState,
  SEGMENT_NAMES,
  type SegmentName,
  type SegmentState,
  slot,
  packSegmentRights,
  unpackSegmentRights,
} from "@tapvisor/x86-isa";
import { type DescriptorTable, REG, type Segment, SREG, type Sreg } from "../contract/index.js";
import { registerWrite, ripRead, ripWrite } from "../registers/cache.js";
import { getCr8, readCr0, readCr3, readCr4 } from "../registers/control.js";
import { getRflags, setRflags } from "../registers/flags.js";
import { emptySegment, setSegment } from "../registers/segments.js";
import type { VcpuState } from "../state/vcpu-state.js";

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

const segmentOf = ({ selector, base, limit, rights }: SegmentState): Segment =>
  unpackSegmentRights(rights, { ...emptySegment(), selector, base, limit });

/** What the state was when the instruction began, to write back no more than what changed. */
export class Snapshot {
  /** The general registers, two words each. */
  readonly gprs = new Uint32Array(GPR_WORDS);
  rip = 0n;
  eflags = 0;
  /** The segment registers that were loaded so far: a bit each, in the order of their names. */
  loaded = 0;
  readonly segments: SegmentState[] = [];
  /** Present when everything was loaded. */
  tables: { readonly gdt: DescriptorTable; readonly idt: DescriptorTable } | undefined;
  /** Where a backend puts a segment register. */
  readonly scratch: Segment = emptySegment();
}

/** What an instruction works on: the evaluator's state, and how it was when the instruction began. */
export interface EmulatedRegisters {
  readonly vcpu: VcpuState;
  readonly state: CpuState;
  readonly before: Snapshot;
}

/**
 * Fill the evaluator's state with what every instruction needs: general registers, RIP, flags, and what the mode and the
 * privilege level are told by. {@link loadSegment} and {@link loadRest} add what else an instruction asks for.
 */
export function loadState(registers: EmulatedRegisters): void {
  const { vcpu, state: s, before } = registers;
  const { arch } = vcpu;
  if ((arch.regsAvail & (1 << REG.RSP)) === 0) vcpu.kvm.ops.cache_reg(vcpu, REG.RSP);
  const { words } = s;
  const { u32 } = arch.regs;
  for (let i = 0; i < GPR_WORDS; i++) words[(AT.rax >> 2) + i] = before.gprs[i] = u32[i] as number;
  before.rip = ripRead(vcpu);
  s.set64(AT.rip, before.rip);
  before.eflags = Number(getRflags(vcpu));
  s.eflags = before.eflags;
  s.set64(AT.cr0, readCr0(vcpu));
  s.set64(AT.efer, arch.efer);
  s.set32(AT.interruptibility, 0);
  before.loaded = 0;
  before.tables = undefined;
  loadSegment(registers, CS);
  loadSegment(registers, SS);
}

/** Encodings of the segment registers, which are their places among the names. */
const CS = SEGMENT_NAMES.indexOf("cs");
const SS = SEGMENT_NAMES.indexOf("ss");

/** Load one segment register more, by its place among the names. */
export function loadSegment({ vcpu, state, before }: EmulatedRegisters, index: number): void {
  if ((before.loaded & (1 << index)) !== 0) return;
  before.loaded |= 1 << index;
  const name = SEGMENT_NAMES[index] as SegmentName;
  const { scratch } = before;
  vcpu.kvm.ops.get_segment(vcpu, scratch, SREG_OF[name]);
  const { selector, base, limit } = scratch;
  const loaded = { selector, base, limit, rights: packSegmentRights(scratch) };
  state.setSegment(name, loaded);
  before.segments[index] = loaded;
}

/** Load all that there is: what system instructions may ask for. */
export function loadRest(registers: EmulatedRegisters): void {
  const { vcpu, state: s, before } = registers;
  const { ops } = vcpu.kvm;
  for (let index = 0; index < SEGMENT_NAMES.length; index++) loadSegment(registers, index);
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
  loadControlState(registers);
  before.tables = { gdt, idt };
}

/** The control registers, which an instruction changes through the core itself. */
export function loadControlState({ vcpu, state: s }: Pick<EmulatedRegisters, "vcpu" | "state">): void {
  s.set64(AT.cr0, readCr0(vcpu));
  s.set64(AT.cr3, readCr3(vcpu));
  s.set64(AT.cr4, readCr4(vcpu));
  s.set64(AT.cr8, getCr8(vcpu));
  s.set64(AT.efer, vcpu.arch.efer);
}

/** Write back what the instruction changed. Segments and tables are changed where {@link loadRest} was asked for alone. */
export function storeState(registers: EmulatedRegisters): void {
  const { vcpu, state: s, before } = registers;
  for (let i = 0; i < GPR_WORDS; i += 2) {
    const at = (AT.rax >> 2) + i;
    if (s.words[at] !== before.gprs[i] || s.words[at + 1] !== before.gprs[i + 1])
      registerWrite(vcpu, i >> 1, s.gpr(i >> 1));
  }
  if (before.tables) {
    storeSegments(registers);
    storeTables(registers, before.tables);
  }
  ripWrite(vcpu, s.get64(AT.rip));
  if (s.eflags !== before.eflags) setRflags(vcpu, s.rflags);
}

function storeSegments({ vcpu, state, before }: EmulatedRegisters): void {
  SEGMENT_NAMES.forEach((name, index) => {
    const segment = state.segment(name);
    const old = before.segments[index];
    const same =
      old !== undefined &&
      segment.selector === old.selector &&
      segment.base === old.base &&
      segment.limit === old.limit &&
      segment.rights === old.rights;
    if (!same) setSegment(vcpu, segmentOf(segment), SREG_OF[name]);
  });
}

function storeTables(
  { vcpu, state: s }: EmulatedRegisters,
  before: { gdt: DescriptorTable; idt: DescriptorTable },
): void {
  const { ops } = vcpu.kvm;
  const gdt = { address: s.get64(AT.gdtrBase), size: s.get32(AT.gdtrLimit) };
  if (gdt.address !== before.gdt.address || gdt.size !== before.gdt.size) ops.set_gdt(vcpu, gdt);
  const idt = { address: s.get64(AT.idtrBase), size: s.get32(AT.idtrLimit) };
  if (idt.address !== before.idt.address || idt.size !== before.idt.size) ops.set_idt(vcpu, idt);
}

export const INTERRUPTIBILITY_AT = AT.interruptibility;
