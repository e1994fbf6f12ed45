import { slot, type CpuState, type SegmentName, type SlotName } from "../../../packages/x86-isa/src/index.js";
import { loadFx, randomFx } from "../../../packages/x86-isa/test/vectors/fxsave.js";
import { interestingValue, type Rng } from "../../../packages/x86-isa/test/vectors/rng.js";
import { AT, CODE_BYTES, DATA_BYTES, GDT_LIMIT, SELECTOR, type Paging } from "./tables.js";

export const MODES = ["real", "v8086", "protected16", "protected32", "compatibility", "long"] as const;
export type ModeName = (typeof MODES)[number];

/** What holds for all programs of one guest. */
export interface Setting {
  readonly mode: ModeName;
  readonly cpl: 0 | 3;
  readonly paging: Paging;
  readonly noExecute: boolean;
  readonly cr0: bigint;
  readonly cr4: bigint;
  readonly efer: bigint;
}

const isLong = (mode: ModeName): boolean => mode === "long" || mode === "compatibility";

/** CR0: PE, MP, EM, TS, ET, NE, WP, AM. CR4 from VME to SMAP. */
export function chooseSetting(rng: Rng): Setting {
  const mode = rng.pick(MODES);
  const long = isLong(mode);
  const cpl = mode === "v8086" ? 3 : mode === "real" ? 0 : rng.pick([0, 3] as const);
  const paging: Paging =
    mode === "real" ? "none" : long ? "4-level" : rng.pick(["none", "32-bit", "32-bit", "pae", "pae"] as const);
  const noExecute = (long || paging === "pae") && rng.chance(3, 4);
  const one = (bit: number, of: number): bigint => (rng.chance(1, of) ? 1n << BigInt(bit) : 0n);
  let cr0 = 0x10n | one(1, 2) | one(2, 16) | one(3, 16) | (rng.chance(7, 8) ? 0x20n : 0n) | one(16, 2) | one(18, 2);
  if (mode !== "real") cr0 |= 1n;
  if (paging !== "none") cr0 |= 0x8000_0000n;
  // OSFXSR, OSXMMEXCPT and OSXSAVE mostly; VME, PVI, TSD, DE, PSE, PGE, FSGSBASE, SMEP, SMAP now and then.
  let cr4 = rng.chance(7, 8) ? 0x4_0600n : 0n;
  cr4 |= one(0, 2) | one(1, 3) | one(2, 4) | one(3, 4) | (rng.chance(3, 4) ? 0x10n : 0n) | one(7, 2) | one(16, 2);
  cr4 |= one(20, 6) | one(21, 6);
  if (paging === "pae" || long) cr4 |= 0x20n;
  if (long) cr4 |= one(17, 4);
  const efer = (long ? 0x500n : 0n) | (noExecute ? 0x800n : 0n) | (rng.chance(3, 4) ? 1n : 0n);
  return { mode, cpl, paging, noExecute, cr0, cr4, efer };
}

export const describeSetting = (s: Setting): string =>
  `${s.mode} mode, CPL ${s.cpl}, paging ${s.paging}, CR0 0x${s.cr0.toString(16)}, CR4 0x${s.cr4.toString(16)}, EFER 0x${s.efer.toString(16)}`;

const UNUSABLE = 0x1_0000;
const VM = 1n << 17n;

interface SegmentChoice {
  readonly selector: number;
  readonly base: number;
  readonly limit: number;
  readonly rights: number;
}

const flat = (selector: number, rights: number): SegmentChoice => ({ selector, base: 0, limit: 0xffff_ffff, rights });

/** Segments of 8086 style: a base of sixteen times the selector. */
const paragraph = (selector: number, rights: number): SegmentChoice => ({
  selector,
  base: selector << 4,
  limit: 0xffff,
  rights,
});

function segments(rng: Rng, { mode, cpl }: Setting): Record<"cs" | "ss" | "ds" | "es" | "fs" | "gs", SegmentChoice> {
  if (mode === "real" || mode === "v8086") {
    const [code, data] = mode === "real" ? [0x9b, 0x93] : [0xf3, 0xf3];
    const of = (at: number): SegmentChoice => paragraph(at >> 4, data);
    const stack = of(AT.STACKS);
    return {
      cs: paragraph(AT.CODE >> 4, code),
      ss: stack,
      ds: of(AT.DATA),
      es: of(AT.DATA),
      fs: of(AT.DATA),
      gs: of(0),
    };
  }
  const user = cpl === 3;
  const code = {
    long: user ? SELECTOR.USER64 : SELECTOR.CODE64,
    32: user ? SELECTOR.USER32 : SELECTOR.CODE32,
    16: user ? SELECTOR.USER16 : SELECTOR.CODE16,
  };
  const size =
    mode === "long" ? "long" : mode === "protected16" ? 16 : mode === "protected32" ? 32 : rng.pick([16, 32] as const);
  const access = user ? 0xfb : 0x9b;
  const cs: SegmentChoice =
    size === 16
      ? { selector: code[size] | cpl, base: AT.CODE, limit: 0xffff, rights: access }
      : flat(code[size] | cpl, (size === "long" ? 0xa000 : 0xc000) | access);
  const data = flat((user ? SELECTOR.USER_DATA : SELECTOR.DATA) | cpl, user ? 0xc0f3 : 0xc093);
  // Now and then a segment that is not flat, or of no use.
  const other = (): SegmentChoice => {
    switch (rng.below(8)) {
      case 0:
        return { selector: SELECTOR.DATA16 | cpl, base: AT.DATA, limit: 0xfff, rights: 0xf3 };
      case 1:
        return { ...data, selector: 0, rights: UNUSABLE };
      case 2:
        return {
          selector: SELECTOR.EXPAND_DOWN | cpl,
          base: 0,
          limit: AT.DATA + 0x800,
          rights: user ? 0xc0f7 : 0xc097,
        };
      case 3:
        return { ...data, rights: data.rights & ~2 };
      default:
        return data;
    }
  };
  const stack = size !== "long" && rng.chance(1, 4) ? { ...data, rights: data.rights & ~0x4000 } : data;
  return {
    cs,
    ss: rng.chance(1, 16) && mode === "long" && !user ? { ...data, selector: 0, rights: UNUSABLE } : stack,
    ds: other(),
    es: other(),
    fs: rng.chance(1, 2) ? { ...data, base: AT.DATA } : other(),
    gs: other(),
  };
}

const set = (state: CpuState, name: SlotName, value: bigint | number): void => {
  state.set64(slot(name), BigInt.asUintN(64, BigInt(value)));
};

function writeRegisters(rng: Rng, state: CpuState, { mode }: Setting): void {
  const small = mode === "real" || mode === "v8086";
  const pointer = (): bigint => BigInt((small ? 0 : AT.DATA) + rng.below(DATA_BYTES - 0x100) + 0x80);
  for (let n = 0; n < 16; n++) {
    const value = rng.chance(3, 5) ? pointer() & (rng.chance(1, 2) ? ~15n : ~0n) : interestingValue(rng);
    state.setGpr(n, mode === "long" || rng.chance(1, 8) ? value : BigInt.asUintN(32, value));
  }
  state.setGpr(4, BigInt((small ? 0 : AT.STACKS) + 0x1000 + rng.below(0x400) * (rng.chance(1, 8) ? 1 : 8)));
  // REP counts that end.
  if (rng.chance(1, 2)) state.setGpr(1, BigInt(rng.below(40)));
}

function writeSystem(rng: Rng, state: CpuState, setting: Setting, cr3: number): void {
  const { mode, cr0, cr4, efer, paging } = setting;
  const long = isLong(mode);
  set(state, "cr0", cr0);
  set(state, "cr4", cr4);
  set(state, "cr3", cr3);
  set(state, "efer", efer);
  set(state, "xcr0", 3);
  if (paging === "pae") for (const n of [0, 1, 2, 3] as const) set(state, `pdpte${n}`, BigInt(AT.TABLES + 0x1000) | 1n);
  set(state, "gdtr.base", AT.GDT);
  state.set32(slot("gdtr.limit"), GDT_LIMIT);
  set(state, "idtr.base", mode === "real" ? AT.IVT : AT.IDT);
  state.set32(slot("idtr.limit"), mode === "real" ? 0x3ff : long ? 0xfff : rng.pick([0x7ff, 0x7ff, 0xff]));
  set(state, "dr6", 0xffff_0ff0n);
  set(state, "dr7", 0x400);
  if (rng.chance(1, 40)) {
    for (const n of [0, 1, 2, 3] as const)
      set(state, `dr${n}`, rng.chance(1, 2) ? AT.CODE + rng.below(CODE_BYTES) : AT.DATA + rng.below(DATA_BYTES));
    set(state, "dr7", BigInt(0x400 | rng.below(256)) | (BigInt(rng.u32() & 0xffff) << 16n));
  }
  set(state, "sysenter_cs", rng.chance(1, 4) ? 0 : SELECTOR.CODE64);
  set(state, "sysenter_esp", AT.STACKS + 0x800);
  set(state, "sysenter_eip", AT.CODE + rng.below(CODE_BYTES));
  set(state, "star", (BigInt(SELECTOR.CODE64) << 32n) | (BigInt(SELECTOR.USER32) << 48n));
  set(state, "lstar", AT.CODE + rng.below(CODE_BYTES));
  set(state, "cstar", AT.CODE + rng.below(CODE_BYTES));
  set(state, "sfmask", rng.u32() & 0x4_7fd5);
  set(state, "kernel_gs_base", AT.DATA + rng.below(DATA_BYTES));
  set(state, "pat", 0x0007_0406_0007_0406n);
}

/** Registers of a program that begins anywhere in the code. */
export function writeStart(rng: Rng, state: CpuState, setting: Setting, cr3: number): void {
  const { mode, cpl } = setting;
  writeRegisters(rng, state, setting);
  writeSystem(rng, state, setting, cr3);
  for (const [name, choice] of Object.entries(segments(rng, setting)))
    state.setSegment(name as SegmentName, { ...choice, base: BigInt(choice.base) });
  const usableLdt = rng.chance(3, 4);
  state.setSegment("ldtr", {
    selector: usableLdt ? SELECTOR.LDT : 0,
    base: usableLdt ? BigInt(AT.LDT) : 0n,
    limit: usableLdt ? 0x7f : 0,
    rights: usableLdt ? 0x82 : UNUSABLE,
  });
  state.setSegment("tr", { selector: SELECTOR.TSS, base: BigInt(AT.TSS), limit: 0xfff, rights: 0x8b });
  let flags = BigInt(rng.u32() & 0xcd5) | 2n | (rng.chance(1, 2) ? 0x200n : 0n);
  if (rng.chance(1, 40)) flags |= 0x100n;
  if (rng.chance(1, 3)) flags |= 0x3000n;
  if (rng.chance(1, 24)) flags |= 0x4000n;
  if (rng.chance(1, 6)) flags |= 0x4_0000n;
  if (mode === "v8086") flags |= VM | (rng.chance(1, 4) ? 0x8_0000n : 0n) | (rng.chance(1, 12) ? 0x10_0000n : 0n);
  if (cpl === 3 && rng.chance(1, 3)) flags |= 0x3000n;
  state.rflags = flags;
  const based = state.segment("cs").base !== 0n;
  set(state, "rip", (based ? 0 : AT.CODE) + rng.below(CODE_BYTES));
  loadFx(state, randomFx(rng, ["integer", "f32", "f64", "f80"]));
}
