import { uopNamed } from "../uops/table.js";
import { Mnemonic } from "../decode/iced.js";
import { bitsOf } from "../uops/definition.js";
import type { Builder, Size, Value } from "./builder.js";
import type { Family, Lifter } from "./family.js";

/** The count masked as the processor does: to 6 bits for 64-bit operands, otherwise to 5. */
function maskedCount(b: Builder, count: Value, size: Size): Value {
  const mask = size === 8 ? 63n : 31n;
  return typeof count === "bigint" ? count & mask : b.compute("and", count, mask);
}

/** SHL, SHR, SAR, ROL, ROR, RCL, RCR. The rows take a masked count and leave flags alone if it is zero. */
const shift =
  (row: "shl" | "shr" | "sar" | "rol" | "ror" | "rcl" | "rcr"): Lifter =>
  (b) => {
    const destination = b.operand(0);
    const size = b.sizeOf(destination);
    const count = maskedCount(b, b.read(b.operand(1)), size);
    const target = b.target(destination);
    if (count === 0n) {
      // Writes the operand all the same: the upper half of a 32-bit register is cleared, memory is written.
      if (size === 4) b.emit("zx32", { d: target.result, a: target.value });
      else b.move(target.result, target.value);
    } else {
      b.binary(row, size, target.result, target.value, count);
    }
    target.commit();
  };

/** SHLD and SHRD: the row takes destination in `d`, the bits to shift in in `a`, the masked count in `b`. */
const doubleShift =
  (row: "shld" | "shrd"): Lifter =>
  (b) => {
    const destination = b.operand(0);
    const size = b.sizeOf(destination);
    const count = maskedCount(b, b.read(b.operand(2)), size);
    const source = b.slot(b.read(b.operand(1)));
    const target = b.target(destination);
    const d = b.copy(target.value);
    if (count !== 0n) b.emit(uopNamed(`${row}${bitsOf(size)}`), { d, a: source, b: b.slot(count) });
    if (size === 4) b.emit("zx32", { d: target.result, a: d });
    else b.move(target.result, d);
    target.commit();
  };

/** SHLX, SHRX, SARX: no flags. */
const shiftX =
  (row: "shl" | "shr" | "sar"): Lifter =>
  (b) => {
    const destination = b.operand(0);
    const size = b.sizeOf(destination);
    const source = b.slot(b.read(b.operand(1)));
    const count = b.slot(maskedCount(b, b.read(b.operand(2)), size));
    const { result, commit } = b.destination(destination);
    b.emit(`${row}${bitsOf(size)}nf`, { d: result, a: source, b: count });
    commit();
  };

const rorx: Lifter = (b) => {
  const destination = b.operand(0);
  const size = b.sizeOf(destination);
  const source = b.slot(b.read(b.operand(1)));
  const count = b.slot(maskedCount(b, b.read(b.operand(2)), size));
  const { result, commit } = b.destination(destination);
  b.emit(`ror${bitsOf(size)}nf`, { d: result, a: source, b: count });
  commit();
};

export const SHIFTS: Family = {
  [Mnemonic.Shl]: shift("shl"),
  [Mnemonic.Sal]: shift("shl"),
  [Mnemonic.Shr]: shift("shr"),
  [Mnemonic.Sar]: shift("sar"),
  [Mnemonic.Rol]: shift("rol"),
  [Mnemonic.Ror]: shift("ror"),
  [Mnemonic.Rcl]: shift("rcl"),
  [Mnemonic.Rcr]: shift("rcr"),
  [Mnemonic.Shld]: doubleShift("shld"),
  [Mnemonic.Shrd]: doubleShift("shrd"),
  [Mnemonic.Shlx]: shiftX("shl"),
  [Mnemonic.Shrx]: shiftX("shr"),
  [Mnemonic.Sarx]: shiftX("sar"),
  [Mnemonic.Rorx]: rorx,
};
