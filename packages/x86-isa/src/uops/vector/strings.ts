import type { SlotName } from "../../state/layout.js";
import type { UopDefinition, UopValues } from "../definition.js";
import { join, lanes, SHAPES, signed, SUFFIXES } from "./lanes.js";
import { Comparison, STRING_CONTROL, STRING_LENGTHS } from "./string-comparison.js";

const FLAG = { CF: 1n, ZF: 1n << 6n, SF: 1n << 7n, OF: 1n << 11n } as const;

const EQUAL_ANY = 0;
const RANGES = 1;
const EQUAL_EACH = 2;

/** One of the two strings: its elements as the comparison takes them, and how many of them are valid. */
interface Text {
  readonly elements: readonly bigint[];
  readonly length: number;
}

function text(value: bigint, bits: 8 | 16, control: number, length: (elements: readonly bigint[]) => number): Text {
  const raw = lanes(value, bits);
  const elements = (control & STRING_CONTROL.SIGNED) !== 0 ? raw.map((element) => signed(bits, element)) : raw;
  return { elements, length: length(raw) };
}

/** Up to the first element that is zero. */
function implicitLength(elements: readonly bigint[]): number {
  const end = elements.indexOf(0n);
  return end < 0 ? elements.length : end;
}

/** A register's absolute value, at most the number of elements. */
function explicitLength(register: bigint, bits: number, count: number): number {
  const value = BigInt.asIntN(bits, register);
  const length = value < 0n ? -value : value;
  return length > BigInt(count) ? count : Number(length);
}

/** Does element `n` of the second string match? What lies beyond a string's end compares as the manual's table says. */
function matches(how: number, first: Text, second: Text, n: number): boolean {
  const element = second.elements[n] ?? 0n;
  const valid = n < second.length;
  switch (how) {
    case EQUAL_ANY:
      return valid && first.elements.slice(0, first.length).includes(element);
    case RANGES: {
      if (!valid) return false;
      for (let i = 0; i + 1 < first.length; i += 2)
        if (element >= (first.elements[i] ?? 0n) && element <= (first.elements[i + 1] ?? 0n)) return true;
      return false;
    }
    case EQUAL_EACH:
      return n < first.length && valid ? first.elements[n] === element : n >= first.length && !valid;
    default: {
      for (let i = 0; n + i < second.elements.length && i < first.length; i++)
        if (n + i >= second.length || first.elements[i] !== second.elements[n + i]) return false;
      return true;
    }
  }
}

/** IntRes2 in bits 15:0, the index in bits 23:16, and the flags in bits 63:32. */
function compare(v: UopValues, bits: 8 | 16): bigint {
  const control = Number(v.imm() & 0xffffn);
  const count = 128 / bits;
  const length = (register: SlotName) => (elements: readonly bigint[]) => {
    if ((control & STRING_LENGTHS.EXPLICIT_64) !== 0) return explicitLength(v.get(register), 64, count);
    if ((control & STRING_LENGTHS.EXPLICIT_32) !== 0) return explicitLength(v.get(register), 32, count);
    return implicitLength(elements);
  };
  const first = text(v.va(), bits, control, length("rax"));
  const second = text(v.vb(), bits, control, length("rdx"));
  const how = (control >> 2) & 3;
  let result = 0;
  for (let n = 0; n < count; n++) {
    const negated =
      (control & STRING_CONTROL.NEGATE) !== 0 &&
      ((control & STRING_CONTROL.NEGATE_VALID_ALONE) === 0 || n < second.length);
    if (matches(how, first, second, n) !== negated) result |= 1 << n;
  }
  const ends = (control & STRING_CONTROL.LAST) !== 0 ? 31 - Math.clz32(result) : 31 - Math.clz32(result & -result);
  const index = result === 0 ? count : ends;
  const flags =
    (result !== 0 ? FLAG.CF : 0n) |
    (second.length < count ? FLAG.ZF : 0n) |
    (first.length < count ? FLAG.SF : 0n) |
    ((result & 1) !== 0 ? FLAG.OF : 0n);
  return BigInt(result) | (BigInt(index) << 16n) | (flags << 32n);
}

/** The string comparisons of SSE4.2. */
export const VECTOR_STRINGS: readonly UopDefinition[] = ([8, 16] as const).flatMap((bits): UopDefinition[] => {
  // The bit of each element in the two bytes, or the one, that have the bits of all.
  const places = bits === 8 ? 0x8040_2010_0804_0201n : 0x0008_0004_0002_0001n;
  const upperPlaces = bits === 8 ? places : places << 4n;
  return [
    {
      name: `pcmpstr${SUFFIXES[bits]}`,
      summary:
        `d = strings a and b of elements of ${bits} bits compared by control byte imm, lengths as bits 9:8 of imm say: ` +
        "matching elements of b (bits 15:0), index (23:16), flags as in RFLAGS (63:32)",
      operands: ["d", "a", "b", "imm"],
      outlined: true,
      wasm: (e) => new Comparison(e, bits).emit(),
      evaluate: (v) => v.setD(compare(v, bits)),
    },
    {
      name: `pcmpmask${SUFFIXES[bits]}`,
      summary: `vector d = the low bits of a, each as an element of ${bits} bits, all ones or zeros`,
      operands: ["d", "a"],
      outlined: true,
      wasm: (e) => {
        const { w } = e;
        const all = e.v128(0);
        e.setVD(() => {
          e.a();
          w.op("i32.wrap_i64", "i16x8.splat");
          if (bits === 8) {
            w.tee(all);
            w.get(all);
            w.shuffle([0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1]);
          }
          w.v128(places, upperPlaces);
          w.op("v128.and");
          w.v128(places, upperPlaces);
          w.op(`${SHAPES[bits]}.eq`);
        });
      },
      evaluate: (v) =>
        v.setVD(
          join(
            lanes(v.a(), 1, 128 / bits).map((bit) => -bit),
            bits,
          ),
        ),
    },
  ];
});
