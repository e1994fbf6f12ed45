import { Code, Instruction } from "../../src/decode/iced.js";
import type { Bitness } from "../../src/index.js";
import type { Case } from "./layout.js";
import type { Form } from "./forms.js";
import { FX, FX_BYTES } from "./fxsave.js";
import { gprCount, type Outcome } from "./program.js";

const FLAG = { CF: 1, PF: 4, AF: 0x10, ZF: 0x40, SF: 0x80, OF: 0x800 } as const;
const FLAG_NAMES = Object.entries(FLAG);

/** Bits of iced-x86's `RflagsBits`, and the bits of RFLAGS that they stand for. */
const ICED_FLAGS: readonly (readonly [iced: number, flag: number])[] = [
  [1, FLAG.OF],
  [2, FLAG.SF],
  [4, FLAG.ZF],
  [8, FLAG.AF],
  [16, FLAG.CF],
  [32, FLAG.PF],
];

/**
 * Flags that the manual leaves undefined and that are compared all the same, because the recorded processor treats them
 * alike in every case: AF of logical operations is cleared, bit tests write CF alone, OF of rotations and left shifts has
 * one formula for every count.
 */
const SETTLED: readonly (readonly [pattern: RegExp, flags: number])[] = [
  [/^(And|Or|Xor|Test)_/, FLAG.AF],
  [/^(Rol|Ror|Rcl|Rcr|Shl|Sal|Sar)_/, FLAG.OF],
  [/^Bt[src]?_/, FLAG.PF | FLAG.AF | FLAG.SF | FLAG.OF],
];

const undefinedByCode = new Map<number, number>();

/** Flags that the manual leaves undefined after an instruction (for shifts, after some count). */
export function undefinedFlags(code: number): number {
  let mask = undefinedByCode.get(code);
  if (mask === undefined) {
    const sample = new Instruction();
    sample.code = code;
    // Of shifts by a constant the answer depends on it: ask for one above 1.
    sample.immediate8 = 5;
    const bits = sample.rflagsUndefined;
    sample.free();
    mask = ICED_FLAGS.reduce((sum, [iced, flag]) => ((bits & iced) !== 0 ? sum | flag : sum), 0);
    const name = Code[code] ?? "";
    for (const [pattern, flags] of SETTLED) if (pattern.test(name)) mask &= ~flags;
    undefinedByCode.set(code, mask);
  }
  return mask;
}

/** How far a shift or rotation of the case goes, as the processor masks it; undefined for other instructions. */
function shiftCount(form: Form, c: Case): number | undefined {
  const shift = /^(Sh[lr]d?|Sa[lr]|R[oc][lr])_r(m|8)(8|16|32|64)?.*?(_imm8|_CL|_1)$/.exec(Code[form.code] ?? "");
  if (shift === null) return undefined;
  const wide = /_rm64/.test(Code[form.code] ?? "");
  if (shift[4] === "_1") return 1;
  const count = shift[4] === "_CL" ? Number((c.gprs[1] ?? 0n) & 0xffn) : (c.bytes.at(-1) ?? 0);
  return count & (wide ? 63 : 31);
}

/** Flags that are undefined after one case: less than after any case of its form if it shifts by 0 or 1. */
function undefinedAfter(form: Form, c: Case): number {
  const mask = undefinedFlags(form.code);
  const count = shiftCount(form, c);
  if (count === 0) return 0;
  return count === 1 ? mask & ~FLAG.OF : mask;
}

/** Of the image: FOP, FIP and FDP, which processors keep differently, and which bits of MXCSR there are. */
const OPEN_IN_FX: readonly (readonly [from: number, to: number])[] = [
  [FX.FTW + 1, FX.MXCSR],
  [FX.MXCSR_MASK, FX.ST0],
  ...Array.from({ length: 8 }, (_, n) => [FX.ST0 + n * 16 + 10, FX.ST0 + n * 16 + 16] as const),
];

function comparedFx(bitness: Bitness, fx: Uint8Array): Uint8Array {
  const image = fx.slice();
  for (const [from, to] of OPEN_IN_FX) image.fill(0, from, to);
  if (bitness !== 64) image.fill(0, FX.XMM0 + gprCount(bitness) * 16);
  return image;
}

/** The part of an outcome that the architecture settles: the rest is made zero, or left out. */
export function compared(form: Form, c: Case, o: Outcome): Outcome {
  return comparedState(form.bitness, c, o, undefinedAfter(form, c));
}

/** The same for any code that leaves flags undefined at its end. */
export function comparedState(bitness: Bitness, c: Case, o: Outcome, undefinedFlags: number): Outcome {
  const { open } = c;
  return {
    vector: o.vector,
    flags: o.vector === undefined ? o.flags & ~undefinedFlags : 0,
    ip: o.ip,
    gprs: o.gprs,
    fx: comparedFx(bitness, o.fx),
    memory:
      open === undefined
        ? o.memory
        : o.memory.filter(([at]) => !open.some(([from, bytes]) => at >= from && at < from + bytes)),
  };
}

const hex = (value: bigint | number): string => `0x${value.toString(16)}`;

const flagNames = (flags: number): string =>
  FLAG_NAMES.filter(([, bit]) => (flags & bit) !== 0)
    .map(([name]) => name)
    .join(" ");

/** The fields of the image that a reader knows by name. */
const FX_FIELDS: readonly (readonly [name: string, at: number, bytes: number])[] = [
  ["FCW", FX.FCW, 2],
  ["FSW", FX.FSW, 2],
  ["FTW", FX.FTW, 1],
  ["MXCSR", FX.MXCSR, 4],
  ...Array.from({ length: 8 }, (_, n) => [`st${n}`, FX.ST0 + n * 16, 10] as const),
  ...Array.from({ length: 16 }, (_, n) => [`xmm${n}`, FX.XMM0 + n * 16, 16] as const),
];

/** A field of an FXSAVE image as one number. */
function fxField(image: Uint8Array, at: number, bytes: number): string {
  const digits = Array.from(image.subarray(at, at + bytes), (byte) => byte.toString(16).padStart(2, "0"));
  return `0x${digits.reverse().join("")}`;
}

export const hexBytes = (bytes: Uint8Array): string =>
  Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join(" ");

/** Every field of the x87 and SSE state with its value, for a report. */
export function describeFx(image: Uint8Array): string[] {
  if (image.length !== FX_BYTES) throw new RangeError(`an image of ${image.length} bytes`);
  return FX_FIELDS.map(([name, at, bytes]) => `${name} ${fxField(image, at, bytes)}`);
}

/** What differs between two outcomes, of each only what is compared. */
export function differences(c: Case, actual: Outcome, expected: Outcome): string[] {
  const found: string[] = [];
  if (actual.vector !== expected.vector) found.push(`vector ${actual.vector} instead of ${expected.vector}`);
  const flags = actual.flags ^ expected.flags;
  if (flags !== 0)
    found.push(
      `flags ${flagNames(flags)} (is ${hex(actual.flags)}, recorded ${hex(expected.flags)}, before ${hex(c.flags)})`,
    );
  if (actual.ip !== expected.ip) found.push(`ip ${hex(actual.ip)} instead of ${hex(expected.ip)}`);
  expected.gprs.forEach((value, i) => {
    if (actual.gprs[i] !== value)
      found.push(`r${i} ${hex(actual.gprs[i] ?? 0n)} instead of ${hex(value)} (before ${hex(c.gprs[i] ?? 0n)})`);
  });
  for (const [name, at, bytes] of FX_FIELDS) {
    const [is, recorded, before] = [actual.fx, expected.fx, c.fx].map((image) => fxField(image, at, bytes));
    if (is !== recorded) found.push(`${name} ${is} instead of ${recorded} (before ${before})`);
  }
  const [wrote, recorded] = [new Map(actual.memory), new Map(expected.memory)];
  const touched = [...new Set([...wrote.keys(), ...recorded.keys()])].filter(
    (at) => wrote.get(at) !== recorded.get(at),
  );
  const bytesOf = (memory: ReadonlyMap<number, number>): string =>
    touched.map((at) => `${at.toString(16)}:${memory.get(at)?.toString(16) ?? "as before"}`).join(" ");
  if (touched.length > 0) found.push(`memory [${bytesOf(wrote)}] instead of [${bytesOf(recorded)}]`);
  return found;
}

/** What differs between an outcome and the recorded one, as text; undefined if nothing that the manual defines does. */
export function difference(form: Form, c: Case, actual: Outcome, expected: Outcome): string | undefined {
  const found = differences(c, compared(form, c, actual), compared(form, c, expected));
  return found.length === 0 ? undefined : found.join("; ");
}

/** A form and one of its cases, as a report names them. */
export const caseName = (form: Form, c: Case): string =>
  `${form.id} (${Code[form.code] ?? ""}) ${form.bitness}-bit [${hexBytes(c.bytes)}]`;
