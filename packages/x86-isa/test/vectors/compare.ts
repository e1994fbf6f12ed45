import { Code, Instruction } from "../../src/decode/iced.js";
import type { Case } from "./layout.js";
import type { Outcome } from "./format.js";
import type { Form } from "./forms.js";

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

const hex = (value: bigint | number): string => `0x${value.toString(16)}`;

const flagNames = (flags: number): string =>
  FLAG_NAMES.filter(([, bit]) => (flags & bit) !== 0)
    .map(([name]) => name)
    .join(" ");

/** What differs between an outcome and the recorded one, as text; undefined if nothing that the manual defines does. */
export function difference(form: Form, c: Case, actual: Outcome, expected: Outcome): string | undefined {
  const found: string[] = [];
  if (actual.vector !== expected.vector) found.push(`vector ${actual.vector} instead of ${expected.vector}`);
  const flags = (actual.flags ^ expected.flags) & ~undefinedAfter(form, c);
  if (flags !== 0 && expected.vector === undefined)
    found.push(
      `flags ${flagNames(flags)} (is ${hex(actual.flags)}, recorded ${hex(expected.flags)}, before ${hex(c.flags)})`,
    );
  if (actual.ip !== expected.ip) found.push(`ip ${hex(actual.ip)} instead of ${hex(expected.ip)}`);
  expected.gprs.forEach((value, i) => {
    if (actual.gprs[i] !== value)
      found.push(`r${i} ${hex(actual.gprs[i] ?? 0n)} instead of ${hex(value)} (before ${hex(c.gprs[i] ?? 0n)})`);
  });
  const memory = (outcome: Outcome): string =>
    outcome.memory.map(([at, value]) => `${at.toString(16)}:${value.toString(16)}`).join(" ");
  if (memory(actual) !== memory(expected)) found.push(`memory [${memory(actual)}] instead of [${memory(expected)}]`);
  if (found.length === 0) return undefined;
  const bytes = Array.from(c.bytes, (byte) => byte.toString(16).padStart(2, "0")).join(" ");
  return `${form.id} (${Code[form.code] ?? ""}) ${form.bitness}-bit [${bytes}]: ${found.join("; ")}`;
}
