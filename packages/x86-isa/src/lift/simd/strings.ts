import { Mnemonic } from "../../decode/iced.js";
import { XMM_SLOTS } from "../../decode/registers.js";
import { STRING_CONTROL, STRING_LENGTHS } from "../../uops/vector/string-comparison.js";
import type { Builder } from "../builder.js";
import type { Family, Lifter } from "../family.js";
import { clearHigh, readVector, xmmOperand } from "../vectors.js";

const RCX = 1;
const XMM0 = XMM_SLOTS[0] ?? 0;

const suffix = (control: number): "b" | "w" => ((control & STRING_CONTROL.WORDS) !== 0 ? "w" : "b");

/** Compare the strings and set the flags; the result is as row `pcmpstr` leaves it. */
function compare(b: Builder, lengths: number): { readonly result: number; readonly control: number } {
  const operand = b.operand(2);
  if (operand.kind !== "immediate") throw new RangeError("a string comparison needs its control byte");
  const control = Number(operand.value & 0xffn);
  const result = b.temp();
  const second = readVector(b, 1, "unaligned");
  b.emit(`pcmpstr${suffix(control)}`, { d: result, a: xmmOperand(b, 0), b: second, imm: BigInt(control | lengths) });
  return { result, control };
}

const setFlags = (b: Builder, result: number): void => b.emit("setflags", { a: b.compute("shr", result, 32n) });

const toIndex =
  (lengths: number): Lifter =>
  (b) => {
    const { result } = compare(b, lengths);
    setFlags(b, result);
    b.setRegister(RCX, 4, b.unary("zx8", b.compute("shr", result, 16n)));
  };

const toMask =
  (lengths: number): Lifter =>
  (b) => {
    const { result, control } = compare(b, lengths);
    setFlags(b, result);
    if ((control & STRING_CONTROL.ELEMENT_MASK) !== 0) {
      b.emit(`pcmpmask${suffix(control)}`, { d: XMM0, a: result });
    } else {
      b.emit("zx16", { d: XMM0, a: result });
      clearHigh(b, XMM0);
    }
  };

const { IMPLICIT, EXPLICIT_32, EXPLICIT_64 } = STRING_LENGTHS;

/** The string comparisons of SSE4.2. */
export const SIMD_STRINGS: Family = {
  [Mnemonic.Pcmpistri]: toIndex(IMPLICIT),
  [Mnemonic.Pcmpestri]: toIndex(EXPLICIT_32),
  [Mnemonic.Pcmpestri64]: toIndex(EXPLICIT_64),
  [Mnemonic.Pcmpistrm]: toMask(IMPLICIT),
  [Mnemonic.Pcmpestrm]: toMask(EXPLICIT_32),
  [Mnemonic.Pcmpestrm64]: toMask(EXPLICIT_64),
};
