import {
  CR0,
  CR4,
  DR6_FIXED_1,
  DR7_FIXED_1,
  EFER,
  RFLAGS,
  SEGMENT_NAMES,
  SEGMENT_RIGHTS,
  initMxcsr,
  initX87,
  slot,
  type CpuState,
  type CpuidFeatureName,
  type SegmentName,
} from "@tapvisor/x86-isa";
import type { CpuidLeaves } from "../profiles/cpuid.js";

const CR0_AT = slot("cr0");
const CR4_AT = slot("cr4");
const DR6_AT = slot("dr6");
const DR7_AT = slot("dr7");
const XCR0_AT = slot("xcr0");
const EFER_AT = slot("efer");

const FLAGS_RESET = Number(RFLAGS.FIXED);
/** Access rights: present, accessed, of ring 0. */
const FLAT_CODE64 = 0xa09b;
const FLAT_DATA = 0xc093;
const BUSY_TSS = 0x8b;
/** Selectors as Linux gives them on x86-64: __KERNEL_CS, __KERNEL_DS, GDT_ENTRY_TSS. */
const KERNEL_CS = 0x10;
const KERNEL_DS = 0x18;
const KERNEL_TR = 0x40;
const PAT_RESET = 0x0007_0406_0007_0406n;

/**
 * Give a processor the state of a kernel that has booted on it: 64-bit mode with paging.
 *
 * @param root registers that a VM entry and exit switch
 * @param shared all others
 */
export function bootState(root: CpuState, shared: CpuState, cpuid: CpuidLeaves): void {
  root.set64(CR0_AT, CR0.PE | CR0.MP | CR0.ET | CR0.NE | CR0.WP | CR0.AM | CR0.PG);
  const optional: readonly (readonly [CpuidFeatureName, bigint])[] = [
    ["PGE", CR4.PGE],
    ["MCE", CR4.MCE],
    ["SMEP", CR4.SMEP],
    ["SMAP", CR4.SMAP],
    ["FXSR", CR4.OSFXSR],
    ["SSE", CR4.OSXMMEXCPT],
    ["XSAVE", CR4.OSXSAVE],
  ];
  root.set64(
    CR4_AT,
    optional.reduce((cr4, [feature, bit]) => (cpuid.has(feature) ? cr4 | bit : cr4), CR4.PAE | CR4.PSE),
  );
  root.set64(EFER_AT, EFER.SCE | EFER.LME | EFER.LMA | EFER.NXE);
  root.set64(slot("pat"), PAT_RESET);
  root.eflags = FLAGS_RESET;
  const rights: Partial<Record<SegmentName, readonly [selector: number, rights: number]>> = {
    cs: [KERNEL_CS, FLAT_CODE64],
    ss: [KERNEL_DS, FLAT_DATA],
    tr: [KERNEL_TR, BUSY_TSS],
  };
  for (const name of SEGMENT_NAMES) {
    const [selector, access] = rights[name] ?? [0, SEGMENT_RIGHTS.UNUSABLE];
    const limit = name === "tr" ? 0x67 : 0xffff_ffff;
    root.setSegment(name, { selector, base: 0n, limit, rights: access });
  }
  root.set64(DR7_AT, DR7_FIXED_1);
  shared.set64(DR6_AT, DR6_FIXED_1);
  shared.set64(XCR0_AT, cpuid.xcr0Supported);
  initX87(shared);
  initMxcsr(shared);
  shared.eflags = FLAGS_RESET;
  for (const name of SEGMENT_NAMES) shared.setSegment(name, root.segment(name));
  shared.set64(CR0_AT, root.get64(CR0_AT));
  shared.set64(CR4_AT, root.get64(CR4_AT));
  shared.set64(EFER_AT, root.get64(EFER_AT));
}
