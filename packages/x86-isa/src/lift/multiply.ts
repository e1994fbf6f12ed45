import { Mnemonic } from "../decode/iced.js";
import type { Builder, Size, Value } from "./builder.js";
import type { Family, Lifter } from "./family.js";

const RAX = 0;
const RDX = 2;

/** Flags of a product: CF and OF if `overflow` is not zero; the rest, undefined by the manual, from the low half. */
function productFlags(b: Builder, low: Value, size: Size, overflow: Value): void {
  b.emit("mulflags", { a: b.slot(b.signExtend(low, size)), b: b.slot(overflow) });
}

/** One-operand MUL and IMUL: the double-width product in AX, DX:AX, EDX:EAX or RDX:RAX. */
const widening =
  (signed: boolean): Lifter =>
  (b) => {
    const source = b.operand(0);
    const size = b.sizeOf(source);
    const factor = b.read(source);
    const extend = (value: Value, from: Size): Value =>
      signed ? b.signExtend(value, from) : b.zeroExtend(value, from);
    if (size === 8) {
      const x = b.slot(factor);
      const low = b.compute("mul", b.register(RAX), x);
      const high = b.temp();
      b.emit(signed ? "mulhs64" : "mulhu64", { d: high, a: b.register(RAX), b: x });
      const overflow = signed ? b.compute("xor", high, b.compute("sar", low, 63n)) : high;
      productFlags(b, low, 8, overflow);
      b.setRegister(RAX, 8, low);
      b.setRegister(RDX, 8, high);
      return;
    }
    const product = b.compute("mul", extend(b.register(RAX), size), extend(factor, size));
    const bits = BigInt(size * 8);
    const high = b.compute("shr", product, bits);
    const overflow = signed ? b.compute("xor", product, b.signExtend(product, size)) : high;
    productFlags(b, product, size, overflow);
    if (size === 1) {
      b.setRegister(RAX, 2, product);
    } else {
      b.setRegister(RAX, size, product);
      b.setRegister(RDX, size, high);
    }
  };

/** IMUL with two or three operands: the product cut to the operand size. */
const truncating: Lifter = (b) => {
  const destination = b.operand(0);
  const size = b.sizeOf(destination);
  const three = b.instruction.operands.length === 3;
  const x = b.read(b.operand(three ? 1 : 0));
  const y = b.read(b.operand(three ? 2 : 1));
  const { result, commit } = b.destination(destination);
  b.binary("imul", size, result, x, y);
  commit();
};

const imul: Lifter = (b, i) => (i.operands.length === 1 ? widening(true) : truncating)(b, i);

const mulx: Lifter = (b) => {
  const high = b.operand(0);
  const low = b.operand(1);
  const size = b.sizeOf(high);
  const factor = b.slot(b.read(b.operand(2)));
  if (high.kind !== "register" || low.kind !== "register") throw new RangeError("MULX needs registers");
  if (size === 8) {
    const lowHalf = b.compute("mul", b.register(RDX), factor);
    const highHalf = b.temp();
    b.emit("mulhu64", { d: highHalf, a: b.register(RDX), b: factor });
    // With one register for both, the high half wins (SDM vol. 2, "MULX").
    b.writeRegister(low.register, lowHalf);
    b.writeRegister(high.register, highHalf);
    return;
  }
  const product = b.compute("mul", b.zeroExtend(b.register(RDX), 4), b.zeroExtend(factor, 4));
  const highHalf = b.compute("shr", product, 32n);
  b.writeRegister(low.register, product);
  b.writeRegister(high.register, highHalf);
};

/** DIV and IDIV. The rows raise #DE for a divisor of zero and for a quotient that does not fit. */
const division =
  (signed: boolean): Lifter =>
  (b) => {
    const source = b.operand(0);
    const size = b.sizeOf(source);
    const divisor = b.read(source);
    const sign = signed ? "s" : "u";
    if (size === 8) {
      const y = b.slot(divisor);
      const quotient = b.copy(b.register(RDX));
      const remainder = b.copy(b.register(RDX));
      b.emit(`div128${sign}`, { d: quotient, a: b.register(RAX), b: y });
      b.emit(`rem128${sign}`, { d: remainder, a: b.register(RAX), b: y });
      b.setRegister(RAX, 8, quotient);
      b.setRegister(RDX, 8, remainder);
      return;
    }
    const y = b.slot(signed ? b.signExtend(divisor, size) : b.zeroExtend(divisor, size));
    const dividend = wideAccumulator(b, size, signed);
    const quotient = b.temp();
    const remainder = b.temp();
    // The constant is the width that the quotient has to fit.
    b.emit(`div64${sign}`, { d: quotient, a: dividend, b: y, imm: BigInt(size * 8) });
    b.emit(`rem64${sign}`, { d: remainder, a: dividend, b: y });
    b.setRegister(RAX, size, quotient);
    if (size === 1) b.setHighByte(RAX, remainder);
    else b.setRegister(RDX, size, remainder);
  };

/** AX, DX:AX or EDX:EAX in 64 bits. */
function wideAccumulator(b: Builder, size: 1 | 2 | 4, signed: boolean): number {
  if (size === 1) return b.slot(signed ? b.signExtend(b.register(RAX), 2) : b.zeroExtend(b.register(RAX), 2));
  const bits = BigInt(size * 8);
  const high = signed ? b.signExtend(b.register(RDX), size) : b.zeroExtend(b.register(RDX), size);
  return b.compute("or", b.compute("shl", high, bits), b.zeroExtend(b.register(RAX), size));
}

/** CBW, CWDE, CDQE: sign-extend the accumulator to twice its size. */
const extendAccumulator =
  (to: 2 | 4 | 8): Lifter =>
  (b) => {
    b.setRegister(RAX, to, b.signExtend(b.register(RAX), (to >> 1) as Size));
  };

/** CWD, CDQ, CQO: fill DX, EDX or RDX with the accumulator's sign. */
const signToDx =
  (size: 2 | 4 | 8): Lifter =>
  (b) => {
    b.setRegister(RDX, size, b.compute("sar", b.signExtend(b.register(RAX), size), 63n));
  };

export const MULTIPLY: Family = {
  [Mnemonic.Mul]: widening(false),
  [Mnemonic.Imul]: imul,
  [Mnemonic.Mulx]: mulx,
  [Mnemonic.Div]: division(false),
  [Mnemonic.Idiv]: division(true),
  [Mnemonic.Cbw]: extendAccumulator(2),
  [Mnemonic.Cwde]: extendAccumulator(4),
  [Mnemonic.Cdqe]: extendAccumulator(8),
  [Mnemonic.Cwd]: signToDx(2),
  [Mnemonic.Cdq]: signToDx(4),
  [Mnemonic.Cqo]: signToDx(8),
};
